"""The end of a run: what came, from where, what did not and why, and where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from local.one_shot import Result
from schemas.backfill import Backfill, ParquetStorage
from schemas.job_status import Counts, JobStatus

_MOST_HOSTS = 15
EXIT_CODES = {"complete": 0, "partial_success": 2}
"""Others: 1."""


def exit_code(status: JobStatus) -> int:
    """0 complete, 2 partial, 1 error."""
    return EXIT_CODES.get(status.status, 1)


def print_summary(console: Console, result: Result, backfill: Backfill, logs: Path) -> None:
    """Tables by outcome, record type and host, then rates and places."""
    status = result.status
    console.print(f"\n[bold]{result.job_id}[/bold]: {_coloured(status.status)}")
    if status.detail:
        console.print(status.detail, markup=False)
    console.print(_accounts(status))
    if status.totals.by_type:
        console.print(_types(status.totals))
    if status.hosts:
        console.print(_hosts(status))
    for line in _remarks(result):
        console.print(line, markup=False, soft_wrap=True)
    for place in places(backfill):
        console.print(f"output: {place}", markup=False, soft_wrap=True)
    console.print(f"logs: {logs}", markup=False, soft_wrap=True)


def as_json(result: Result, backfill: Backfill) -> dict[str, Any]:
    """The same for programs."""
    return {
        "job_id": result.job_id,
        "status": result.status.model_dump(mode="json"),
        "seconds": round(result.seconds, 3),
        "records_per_second": _rate(result.status),
        "found_final": result.found_final,
        "resumed": result.resumed,
        "restarts": result.restarts,
        "output": places(backfill),
    }


def places(backfill: Backfill) -> list[str]:
    """Where the records lie."""
    return [
        f"Parquet files in {storage.path}"
        if isinstance(storage, ParquetStorage)
        else f"DynamoDB table {storage.table_name}" + (f" in {storage.region}" if storage.region else "")
        for storage in backfill.storage
    ]


def _coloured(status: str) -> str:
    colour = {"complete": "green", "partial_success": "yellow"}.get(status, "red")
    return f"[{colour}]{status}[/{colour}]"


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _accounts(status: JobStatus) -> Table:
    table = _table("accounts", "")
    totals = status.totals
    for name in ("completed", "skipped", "unavailable", "failed", "cancelled"):
        if number := getattr(totals, name):
            table.add_row(name, f"{number:,}")
    for reason, number in sorted(status.reasons.items()):
        table.add_row(f"  {reason}", f"{number:,}", style="dim")
    table.add_row("total", f"{status.total:,}", style="bold")
    return table


def _types(totals: Counts) -> Table:
    table = _table("record type", "records")
    for collection, number in sorted(totals.by_type.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(collection, f"{number:,}")
    table.add_row("total", f"{totals.records:,}", style="bold")
    return table


def _hosts(status: JobStatus) -> Table:
    table = _table("host", "completed", "unavailable", "failed", "records", "MB")
    hosts = sorted(status.hosts.items(), key=lambda item: (-item[1].records, item[0]))
    for host, counts in hosts[:_MOST_HOSTS]:
        table.add_row(
            host,
            f"{counts.completed:,}",
            f"{counts.unavailable:,}",
            f"{counts.failed:,}",
            f"{counts.records:,}",
            f"{counts.bytes / 1e6:,.1f}",
        )
    if len(hosts) > _MOST_HOSTS:
        table.add_row(f"… and {len(hosts) - _MOST_HOSTS} more", style="dim")
    return table


def _remarks(result: Result) -> list[str]:
    status, lines = result.status, []
    if status.totals.dropped:
        dropped = ", ".join(
            f"{number:,} by {reason}" for reason, number in sorted(status.totals.dropped.items())
        )
        lines.append(f"left out: {dropped}")
    if status.duplicates:
        lines.append(f"{status.duplicates:,} entries of the source named an account again and were ignored")
    if status.totals.failed or status.totals.dropped.get("invalid"):
        lines.append("what failed lies in the topic `deadletter`, each with its reason")
    if result.restarts:
        lines.append(f"processes were started again {result.restarts} times")
    seconds = _seconds(status)
    if seconds and not result.found_final:
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
