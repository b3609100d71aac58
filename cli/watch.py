"""`status --watch` for people: a job's state, its rates and when it will be done, drawn in place.

What is not known is called unknown: no rate, and no time left, is ever shown as 0 for want of figures.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli.backend import Standing
from cli.console import table
from cli.host_groups import host_groups
from cli.summary import left_out_text
from cli.words import printable
from schemas.eta import seconds_left, shortest_with_data
from schemas.job_status import JobStatus
from schemas.rates import JobRates, RateWindow
from schemas.words import counted, ranked, span

NO_RATES = "no rates (start `skyfill rates`)"
_MOST_HOSTS = 5
_MOST_ERRORS = 2
_NAMES = {60: "1 min", 300: "5 min", 3600: "1 h"}


class WatchDisplay:
    """A context manager for a terminal; `show` takes what is known now."""

    def __init__(self, console: Console) -> None:
        self._latest: Standing | None = None
        self._spinner = Spinner("dots")
        self._live = Live(console=console, get_renderable=self._now, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        """Starts drawing."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes the display away."""
        self._live.stop()

    def show(self, standing: Standing) -> None:
        """Draws this from now on."""
        self._latest = standing

    def _now(self) -> RenderableType:
        return "" if self._latest is None else self.drawing(self._latest)

    def drawing(self, standing: Standing) -> RenderableType:
        """The whole display."""
        job, rates = standing.status, standing.rates
        self._spinner.update(text=Text.assemble((job.job_id, "bold"), f"  {job.status}"))
        parts: list[RenderableType] = [self._spinner, _bar(job, rates), _accounts(job)]
        parts += [Text(printable(said)) for said in (left_out_text(job), standing.explanation) if said]
        if len(standing.hosts) > 1:
            parts += ["", _groups(standing)]
        if rates is None:
            if not _at_rest(job):
                parts.append(Text(NO_RATES, style="yellow"))
            return Group(*parts)
        parts += ["", _windows(rates)]
        busy = shortest_with_data(rates)
        if busy is not None and busy.hosts:
            parts += ["", _hosts(busy)]
        return Group(*parts)


def rates_text(job: JobStatus, rates: JobRates | None) -> str:
    """The last minute and the time left for one line of text; empty where a job neither moves nor will."""
    if _at_rest(job):
        return ""
    if rates is None:
        return NO_RATES
    window = rates.windows[0]
    return (
        f"{window.repositories_per_second:,.1f} repositories/s, {window.records_per_second:,.0f} records/s, "
        f"time left: {time_left(job, rates)}"
    )


def time_left(job: JobStatus, rates: JobRates | None) -> str:
    """How long the job will take at its present pace, in words; "unknown" if that can't be told."""
    seconds = seconds_left(job, rates)
    if seconds is None:
        return "unknown"
    return f"about {span(seconds)}"


def _at_rest(job: JobStatus) -> bool:
    return job.final or job.status in ("paused", "queued")


def _bar(job: JobStatus, rates: JobRates | None) -> RenderableType:
    planned = f"{job.total:,}" if job.plan_finished else f"{job.total:,}+"
    row = Table.grid(padding=(0, 2))
    row.add_row(
        ProgressBar(total=max(1, job.total), completed=job.totals.terminal, width=40),
        f"{job.totals.terminal:,} of {planned} accounts",
        f"time left: {time_left(job, rates)}",
    )
    return row


def _groups(standing: Standing) -> Table:
    """A bar for each group of hosts."""
    rows = Table.grid(padding=(0, 2))
    for group in host_groups(standing.hosts):
        hosts = "" if group.hosts == 1 else counted(group.hosts, "host", "hosts")
        failed = f"{group.failed:,} failed" if group.failed else ""
        bar = ProgressBar(total=max(1, group.planned), completed=group.done, width=24)
        rows.add_row(group.name, bar, f"{group.done:,} of {group.planned:,}", hosts, failed)
    return rows


def _accounts(job: JobStatus) -> Text:
    totals = job.totals
    return Text(
        f"{totals.completed:,} completed, {totals.unavailable:,} unavailable, {totals.failed:,} failed, "
        f"{totals.retrying:,} retrying; {totals.records:,} records"
    )


def _windows(rates: JobRates) -> Table:
    shown = table("last", "records/s", "repositories/s", "MB/s", "p50", "p99", "errors", numbers=True)
    for window in rates.windows:
        shown.add_row(
            _NAMES.get(window.seconds, f"{window.seconds} s"),
            f"{window.records_per_second:,.0f}",
            f"{window.repositories_per_second:,.1f}",
            f"{window.bytes_per_second / 1e6:,.1f}",
            span(window.p50_seconds),
            span(window.p99_seconds),
            _errors(window.errors),
        )
    return shown


def _hosts(window: RateWindow) -> Table:
    shown = table("busiest hosts", "records/s", "repositories/s", "MB/s", "mean", "errors", numbers=True)
    for host, rates in list(window.hosts.items())[:_MOST_HOSTS]:
        shown.add_row(
            host,
            f"{rates.records_per_second:,.0f}",
            f"{rates.repositories_per_second:,.1f}",
            f"{rates.bytes_per_second / 1e6:,.1f}",
            span(rates.mean_seconds),
            f"{rates.errors:,}" if rates.errors else "",
        )
    return shown


def _errors(errors: dict[str, int]) -> str:
    known = ranked(errors)
    text = ", ".join(f"{number:,} {name}" for name, number in known[:_MOST_ERRORS])
    return f"{text}, …" if len(known) > _MOST_ERRORS else text
