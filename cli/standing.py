"""A job as it stands, in a line and in a page."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from cli.backend import Standing
from cli.console import table
from cli.host_groups import host_groups
from cli.summary import left_out_text
from cli.told import utc
from cli.words import one_line, printable
from schemas.job_status import ErrorSummary, JobStatus
from schemas.words import counted

_MOST_SAMPLES = 2


def status_line(job: JobStatus) -> str:
    """A job's figures in one line."""
    totals = job.totals
    planned = f"{job.total:,}" if job.plan_finished else f"{job.total:,}+"
    text = (
        f"{job.job_id}: {job.status}, {totals.terminal:,} of {planned} accounts "
        f"({totals.completed:,} completed, {totals.unavailable:,} unavailable, {totals.failed:,} failed, "
        f"{totals.retrying:,} retrying), {totals.records:,} records"
    )
    if job.replaying:
        text += f"; {job.replaying:,} of those that failed are being tried again"
    return text


def status_with_reasons(job: JobStatus) -> str:
    """The same with what is behind it."""
    return "; ".join(part for part in (status_line(job), left_out_text(job), job.detail) if part)


def print_standing(console: Console, line: str, standing: Standing) -> None:
    """A job as it stands; `line` says it in one."""
    status = standing.status
    console.print(printable(line))
    console.print(printable(standing.explanation))
    if status.stale_since is not None:
        console.print(f"stale since {utc(status.stale_since)}")
    if left_out := left_out_text(status):
        console.print(printable(left_out))
    if status.errors:
        console.print(_error_rows(status.errors))
    if standing.hosts:
        console.print(_group_rows(standing))


def _error_rows(errors: Mapping[str, ErrorSummary]) -> Table:
    shown = table("\nattempts that failed", "to be tried again", "the last", "for example", numbers=True)
    shown.columns[3].justify = "left"
    ranked = sorted(errors.items(), key=lambda item: (-item[1].retryable - item[1].permanent, item[0]))
    for name, summary in ranked:
        samples = [f"{one.reason}: {one.detail}" if one.detail else one.reason for one in summary.samples]
        said = "; ".join(one_line(sample, 80) for sample in samples[-_MOST_SAMPLES:])
        shown.add_row(name, f"{summary.retryable:,}", f"{summary.permanent:,}", said)
    return shown


def _group_rows(standing: Standing) -> Table:
    shown = table("\nhosts", "done", "planned", "failed", numbers=True)
    for group in host_groups(standing.hosts):
        name = group.name if group.hosts == 1 else f"{group.name} ({counted(group.hosts, 'host', 'hosts')})"
        shown.add_row(
            name, f"{group.done:,}", f"{group.planned:,}", f"{group.failed:,}" if group.failed else ""
        )
    return shown
