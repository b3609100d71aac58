"""The live display of a job: a bar, rates, what the sinks have to store. Plain lines without a terminal."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from schemas.job_status import JobStatus
from schemas.words import span

if TYPE_CHECKING:
    from local.one_shot import Progress

_LINE_SECONDS = 5.0
_RATE_SECONDS = 5.0


class ProgressDisplay:
    """A context manager; `show` takes what OneShot tells."""

    def __init__(self, console: Console) -> None:
        """Draws on `console`, or writes a line every few seconds if that is not a terminal."""
        self._console = console
        self._latest: tuple[float, Progress] | None = None
        self._live: Live | None = None
        if console.is_terminal:
            # Drawn anew by itself: the clock goes on while nothing is told.
            self._live = Live(console=console, get_renderable=self._now, refresh_per_second=8, transient=True)
        self._samples: deque[tuple[float, int, int]] = deque()
        self._last_line = 0.0
        self._last_phase = ""
        self._spinner = Spinner("dots")

    def __enter__(self) -> Self:
        """Starts drawing."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes the display away."""
        if self._live:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Draws what is known now."""
        self._sample(progress)
        now = time.monotonic()
        self._latest = now, progress
        if self._live:
            return
        if progress.phase != self._last_phase or now - self._last_line > _LINE_SECONDS:
            self._last_line, self._last_phase = now, progress.phase
            self._console.print(self._line(progress))

    def _sample(self, progress: Progress) -> None:
        status = progress.status
        if status is None:
            return
        now = time.monotonic()
        self._samples.append((now, status.totals.terminal, status.totals.records))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_SECONDS:
            self._samples.popleft()

    def _rates(self) -> tuple[float, float]:
        """Repositories and records per second, lately."""
        if len(self._samples) < 2:
            return 0.0, 0.0
        (t0, repos0, records0), (t1, repos1, records1) = self._samples[0], self._samples[-1]
        span = max(0.001, t1 - t0)
        return (repos1 - repos0) / span, (records1 - records0) / span

    def _line(self, progress: Progress) -> str:
        status, parts = progress.status, [f"{progress.seconds:6.1f} s  {_doing(progress)}"]
        if status is not None:
            parts.append(f"{status.totals.terminal:,} of {_planned(status)} accounts")
            records = self._rates()[1]
            rate = f" ({records:,.0f}/s)" if records else ""
            parts.append(f"{status.totals.records:,} records{rate}")
            parts += [f"{kind}: {_behind(behind)}" for kind, behind in progress.behind.items()]
        if progress.restarts:
            parts.append(_restarts(progress.restarts))
        return ", ".join(parts)

    def _now(self) -> RenderableType:
        if self._latest is None:
            return ""
        told_at, progress = self._latest
        return self._drawing(progress, progress.seconds + time.monotonic() - told_at)

    def _drawing(self, progress: Progress, seconds: float) -> RenderableType:
        self._spinner.update(text=Text.assemble((progress.job_id, "bold"), f"  {_doing(progress)}"))
        head = Table.grid(padding=(0, 2))
        head.add_row(self._spinner, span(seconds))
        if progress.status is None:
            return head
        return Group(head, self._bar(progress.status), self._figures(progress, progress.status))

    def _bar(self, status: JobStatus) -> RenderableType:
        row = Table.grid(padding=(0, 2))
        row.add_row(
            ProgressBar(total=max(1, status.total), completed=status.totals.terminal, width=40),
            f"{status.totals.terminal:,} of {_planned(status)} accounts",
        )
        return row

    def _figures(self, progress: Progress, status: JobStatus) -> RenderableType:
        repos, records = self._rates()
        totals = status.totals
        table = Table.grid(padding=(0, 2))
        table.add_row("records", f"{totals.records:,}", f"{records:,.0f}/s", _left(status, repos))
        table.add_row(
            "accounts",
            f"{totals.completed:,} complete",
            f"{repos:,.1f}/s",
            f"{totals.unavailable:,} unavailable, {totals.failed:,} failed",
        )
        if totals.retrying:
            table.add_row("", f"{totals.retrying:,} retrying")
        for kind, behind in progress.behind.items():
            table.add_row(kind, _behind(behind))
        if progress.restarts:
            table.add_row("processes", _restarts(progress.restarts))
        return table


def _doing(progress: Progress) -> str:
    """The phase, or why nothing happens in it."""
    paused = progress.status is not None and progress.status.status == "paused"
    return f"paused; go on with `skyfill resume {progress.job_id}`" if paused else progress.phase


def _planned(status: JobStatus) -> str:
    return f"{status.total:,}" if status.plan_finished else f"{status.total:,}+"


def _restarts(number: int) -> str:
    return f"{number} restart{'s' if number > 1 else ''}"


def _behind(behind: int | None) -> str:
    if behind is None:
        return "place unknown"
    return "up to date" if behind == 0 else f"{behind:,} to store"


def _left(status: JobStatus, repos_per_second: float) -> str:
    if not status.plan_finished or repos_per_second <= 0 or not status.outstanding:
        return ""
    return f"about {span(status.outstanding / repos_per_second)} left"
