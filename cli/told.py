"""What a dry run and a report say, written out for people."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from cli.console import table
from cli.words import one_line, printable
from schemas.estimate import Estimate
from schemas.report import CompletenessReport
from schemas.words import ranked, size, span

_MOST_HOSTS = 15
_UNKNOWN = "unknown"
_COUNTED = {
    "counted": "counted one by one",
    "listed": "as many as the relay lists",
    "at_least": "at least; the source was not read to its end",
}
_BUDGETS = {
    "advertised": "as it advertises",
    "learnt": "as was learnt",
    "document": "as the document allows",
}


def print_estimate(console: Console, found: Estimate) -> None:
    """A dry run."""
    rows = _rows()
    accounts = f"{found.accounts:,} ({_COUNTED[found.accounts_are]})"
    rows.add_row("accounts", accounts)
    if found.duplicates:
        rows.add_row("named again", f"{found.duplicates:,}")
    for reason, number in sorted(found.left_out.items()):
        rows.add_row(f"left out: {reason}", f"{number:,}")
    if found.unresolvable:
        rows.add_row("without a host", f"{found.unresolvable:,} of those that were looked up")
    rows.add_row("hosts", f"{found.hosts_found:,}")
    rows.add_row("requests", _about(found.requests))
    rows.add_row("bytes", _UNKNOWN if found.bytes is None else f"about {size(found.bytes)}")
    rows.add_row("records", _about(found.records))
    rows.add_row(
        "time", _UNKNOWN if found.seconds is None else f"about {span(found.seconds)}, with one worker"
    )
    console.print(rows)
    if found.hosts:
        shown = table("\nslowest hosts", "accounts", "requests", "requests/s", "budget", "time", numbers=True)
        for host in found.hosts:
            shown.add_row(
                host.host,
                f"{host.accounts:,}",
                f"{host.requests:,}",
                f"{host.requests_per_second:,.1f}",
                _BUDGETS[host.budget],
                span(host.seconds),
            )
        console.print(shown)
    for note in found.notes:
        console.print(printable(note))


def print_report(console: Console, found: CompletenessReport) -> None:
    """How complete a job is."""
    console.print(f"{found.job_id}: {found.status}{', complete' if found.complete else ''}")
    console.print(printable(found.explanation))
    rows = table("\naccounts", "", numbers=True)
    rows.add_row("planned" if found.plan_finished else "planned so far", f"{found.planned:,}", style="bold")
    rows.add_row("done", f"{found.done:,} ({found.percent_done} %)")
    for name in ("completed", "skipped", "unavailable", "failed", "cancelled"):
        if number := getattr(found, name):
            rows.add_row(name, f"{number:,}")
        by = {"unavailable": found.unavailable_by, "failed": found.failed_by}.get(name, {})
        for reason, count in ranked(by):
            rows.add_row(f"  {one_line(reason, 60)}", f"{count:,}", style="dim")
    for name, number in (("retrying", found.retrying), ("being tried again", found.replaying)):
        if number:
            rows.add_row(name, f"{number:,}")
    if found.duplicates:
        rows.add_row("named again in the source", f"{found.duplicates:,}")
    for reason, count in ranked(found.left_out):
        rows.add_row(f"left out of the source: {one_line(reason, 40)}", f"{count:,}")
    console.print(rows)
    more = _rows()
    more.add_row("records", f"{found.records:,}")
    more.add_row("bytes", size(found.bytes))
    more.add_row("newest rev", found.newest_rev or "none")
    for name, at in (("submitted", found.submitted_at), ("finished", found.finished_at)):
        if at is not None:
            more.add_row(name, utc(at))
    console.print()
    console.print(more)
    if found.hosts:
        console.print(_host_rows(found))


def _host_rows(found: CompletenessReport) -> Table:
    figures = ("planned", "done", "unavailable", "failed", "records", "MB", "newest rev")
    shown = table("\nhost", *figures, numbers=True)
    for host in found.hosts[:_MOST_HOSTS]:
        shown.add_row(
            host.host,
            f"{host.planned:,}",
            f"{host.done:,}",
            f"{host.unavailable:,}",
            f"{host.failed:,}",
            f"{host.records:,}",
            f"{host.bytes / 1e6:,.1f}",
            host.newest_rev or "",
        )
    if len(found.hosts) > _MOST_HOSTS:
        shown.add_row(f"… and {len(found.hosts) - _MOST_HOSTS:,} more (--json has all)", style="dim")
    return shown


def _rows() -> Table:
    rows = table("", "")
    rows.show_header = False
    return rows


def _about(number: int | None) -> str:
    return _UNKNOWN if number is None else f"about {number:,}"


def utc(at: datetime) -> str:
    """For people."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
