"""The end of a run: what came, from where, what did not and why, and where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.console import table
from schemas.backfill import Backfill, ParquetStorage
from schemas.job_status import Counts, JobStatus
from schemas.words import ranked
from sinks.reports import ACCOUNTS, report_of

if TYPE_CHECKING:
    from local.one_shot import Result

_MOST_HOSTS = 15
_COLOURS = {"complete": "green", "partial_success": "yellow"}
EXIT_CODES = {"complete": 0, "partial_success": 2}
"""Others: 1."""


def exit_code(status: JobStatus) -> int:
    """0 complete, 2 partial, 1 error."""
    return EXIT_CODES.get(status.status, 1)


def left_out_text(status: JobStatus) -> str:
    """What the source held beside accounts of the job; empty where that was nothing."""
    counts = sorted(status.left_out.items())
    listed = ", ".join(f"{number:,} {reason}" for reason, number in counts)
    return f"left out of the source: {listed}" if listed else ""


def print_summary(console: Console, result: Result, backfill: Backfill, logs: Path) -> None:
    """Tables by outcome, record type and host, then rates and places."""
    status = result.status
    colour = _COLOURS.get(status.status, "red")
    console.print(Text.assemble("\n", (result.job_id, "bold"), ": ", (status.status, colour)))
    if status.detail:
        console.print(status.detail)
    console.print(_accounts(status))
    if status.totals.by_type:
        console.print(_types(status.totals))
    if result.hosts:
        console.print(_hosts(result))
    console.print()
    for line in _remarks(result):
        console.print(line)
    for place in places(backfill):
        console.print(f"output: {place}")
    for report in reports(result, backfill):
        console.print(f"report: {report}, one row for each account")
    console.print(f"logs: {logs.absolute()}")


def as_json(result: Result, backfill: Backfill) -> dict[str, Any]:
    """The same for programs."""
    return {
        "job_id": result.job_id,
        "status": result.status.model_dump(mode="json"),
        "hosts": {host: page.model_dump(mode="json") for host, page in sorted(result.hosts.items())},
        "seconds": round(result.seconds, 3),
        "records_per_second": _rate(result.status),
        "found_final": result.found_final,
        "resumed": result.resumed,
        "restarts": result.restarts,
        "output": places(backfill),
        "reports": reports(result, backfill),
    }


def places(backfill: Backfill) -> list[str]:
    """Where the records lie."""
    return [
        f"Parquet files in {storage.path}"
        if isinstance(storage, ParquetStorage)
        else f"DynamoDB table {storage.table_name}" + (f" in {storage.region}" if storage.region else "")
        for storage in backfill.storage
    ]


def reports(result: Result, backfill: Backfill) -> list[str]:
    """The files that say what became of each account."""
    folders = [storage.path for storage in backfill.storage if isinstance(storage, ParquetStorage)]
    files = [report_of(folder, result.job_id) / ACCOUNTS for folder in folders]
    return [str(file) for file in files if file.exists()]


def _accounts(status: JobStatus) -> Table:
    shown = table("\naccounts", "", numbers=True)
    totals = status.totals
    for name in ("completed", "skipped", "unavailable", "failed", "cancelled"):
        if number := getattr(totals, name):
            shown.add_row(name, f"{number:,}")
    for reason, number in sorted(status.reasons.items()):
        shown.add_row(f"  {reason}", f"{number:,}", style="dim")
    shown.add_row("total", f"{status.total:,}", style="bold")
    return shown


def _types(totals: Counts) -> Table:
    shown = table("\nrecord type", "records", numbers=True)
    for collection, number in ranked(totals.by_type):
        shown.add_row(collection, f"{number:,}")
    shown.add_row("total", f"{totals.records:,}", style="bold")
    return shown


def _hosts(result: Result) -> Table:
    shown = table("\nhost", *("completed", "unavailable", "failed", "records", "MB"), numbers=True)
    pages = {host: page.counts for host, page in result.hosts.items()}
    hosts = sorted(pages.items(), key=lambda item: (-item[1].records, item[0]))
    for host, counts in hosts[:_MOST_HOSTS]:
        shown.add_row(
            host,
            f"{counts.completed:,}",
            f"{counts.unavailable:,}",
            f"{counts.failed:,}",
            f"{counts.records:,}",
            f"{counts.bytes / 1e6:,.1f}",
        )
    if len(hosts) > _MOST_HOSTS:
        shown.add_row(f"… and {len(hosts) - _MOST_HOSTS} more", style="dim")
    return shown


def _remarks(result: Result) -> list[str]:
    status, lines = result.status, []
    if status.totals.dropped:
        dropped = ", ".join(
            f"{number:,} by {reason}" for reason, number in sorted(status.totals.dropped.items())
        )
        lines.append(f"records left out: {dropped}")
    if status.duplicates:
        lines.append(f"{status.duplicates:,} entries of the source named an account again and were ignored")
    if left_out := left_out_text(status):
        lines.append(left_out)
    if status.totals.failed or status.totals.dropped.get("invalid"):
        lines.append(
            f"while `skyfill up` runs, `skyfill deadletter list --job {result.job_id}` tells what failed and "
            f"why, and `skyfill retry {result.job_id}` tries it again"
        )
    if result.restarts:
        times = "once" if result.restarts == 1 else f"{result.restarts} times"
        lines.append(f"a process was started again {times}")
    seconds = _seconds(status)
    if seconds and result.resumed:
        lines.append(
            f"{seconds:,.1f} s from the job's first start to its end; this run took {result.seconds:,.1f} s"
        )
    elif seconds and not result.found_final:
        lines.append(
            f"{status.totals.records:,} records in {seconds:,.1f} s ({_rate(status):,.0f} a second), "
            f"{result.seconds:,.1f} s with starting and storing"
        )
    return lines


def _seconds(status: JobStatus) -> float:
    if status.started_at is None or status.finished_at is None:
        return 0.0
    return (status.finished_at - status.started_at).total_seconds()


def _rate(status: JobStatus) -> float:
    seconds = _seconds(status)
    return round(status.totals.records / seconds, 1) if seconds else 0.0
