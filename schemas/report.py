"""The completeness report of a job: of every account planned, what became of it, for the job and by host.

A pure function of what the tracker told; whoever shows it shows the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from schemas.explain import explain
from schemas.job_status import Counts, JobHost, JobStatus, Status
from schemas.message import Count, Instant, Message


class Completeness(Message):
    """Accounts by what became of them, and what they brought."""

    planned: Count = 0
    done: Count = 0
    """Accounts that have ended, one way or another."""
    percent_done: float
    """Of those planned, to a tenth, and never 100 before all are done; 100 where none was planned."""
    percent_succeeded: float
    """Completed, skipped or unavailable, of those planned; likewise."""
    completed: Count = 0
    skipped: Count = 0
    unavailable: Count = 0
    unavailable_by: dict[str, int] = Field(default_factory=dict)
    """By reason."""
    failed: Count = 0
    failed_by: dict[str, int] = Field(default_factory=dict)
    """By error type."""
    cancelled: Count = 0
    records: Count = 0
    bytes: Count = 0
    newest_rev: str | None = None


class HostCompleteness(Completeness):
    """Of one host. Accounts that moved were planned at their old host, and count at the new one."""

    host: str


class CompletenessReport(Completeness):
    """Of a whole job."""

    job_id: str
    name: str | None = None
    status: Status
    explanation: str
    complete: bool
    """Whether every account that its source names has ended completed, skipped or unavailable. A source that
    tells of what it could not list does so in `left_out`."""
    plan_finished: bool
    """Whether `planned` is final."""
    retrying: Count = 0
    """Accounts that failed at least once and still have attempts left."""
    replaying: Count = 0
    """Accounts that count as failed and are being tried again."""
    duplicates: Count = 0
    left_out: dict[str, int] = Field(default_factory=dict)
    """What the source held and is no account of the job, by reason."""
    submitted_at: Instant | None = None
    finished_at: Instant | None = None
    hosts: list[HostCompleteness] = Field(default_factory=list)
    """Those with most accounts first; none for a job that ended longer ago than `tracker.history_days`."""


def completeness(status: JobStatus, hosts: Mapping[str, JobHost]) -> CompletenessReport:
    """The report of a job from its status and its counts by host, as of when they were read."""
    pages = sorted(hosts.items(), key=lambda item: (-_size(item[1]), item[0]))
    return CompletenessReport(
        **_figures(status.total, status.totals, status.newest_rev),
        job_id=status.job_id,
        name=status.name,
        status=status.status,
        explanation=explain(status),
        complete=status.status == "complete" and status.totals.succeeded == status.total,
        plan_finished=status.plan_finished,
        retrying=status.totals.retrying,
        replaying=status.replaying,
        duplicates=status.duplicates,
        left_out=status.left_out,
        submitted_at=status.submitted_at,
        finished_at=status.finished_at,
        hosts=[
            HostCompleteness(**_figures(page.planned, page.counts, page.newest_rev), host=host)
            for host, page in pages
        ],
    )


def _figures(planned: int, counts: Counts, newest_rev: str | None) -> dict[str, object]:
    same = ("completed", "skipped", "unavailable", "failed", "cancelled", "records", "bytes")
    return {name: getattr(counts, name) for name in (*same, "unavailable_by", "failed_by")} | {
        "planned": planned,
        "done": counts.terminal,
        "percent_done": _percent(counts.terminal, planned),
        "percent_succeeded": _percent(counts.succeeded, planned),
        "newest_rev": newest_rev,
    }


def _percent(part: int, whole: int) -> float:
    if part >= whole:
        return 100.0
    return (1000 * part // whole) / 10  # rounded down: nearly all is not all


def _size(page: JobHost) -> int:
    return max(page.planned, page.counts.terminal)
