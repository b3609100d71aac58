"""How a job stands, by its ledger. Pure."""

from __future__ import annotations

from datetime import datetime

from schemas.job_status import JobStatus, Ledger, Status


def has_ended(ledger: Ledger) -> bool:
    """Whether nothing more is to come for the job, or nothing that could change it."""
    if ledger.state == "rejected" or ledger.forced:
        return True
    if ledger.replaying or ledger.gathering:
        return False
    return ledger.plan_finished and ledger.totals.terminal >= ledger.planned


def status_name(ledger: Ledger) -> Status:
    """A job that has ended is in error where it was refused, where its source could not be read to the end,
    and where every single account of it failed."""
    if ledger.finished_at is None:
        if ledger.state == "paused":
            return "paused"
        return "processing" if ledger.started_at else "queued"
    if ledger.state in ("rejected", "source_failed"):
        return "error"
    if ledger.state == "cancelled":
        return "cancelled"
    if ledger.totals.failed:
        return "partial_success" if ledger.totals.succeeded else "error"
    return "complete"


def status_of(ledger: Ledger, now: datetime) -> JobStatus:
    """What everybody is told of the job."""
    return JobStatus(
        job_id=ledger.job_id,
        name=ledger.name,
        status=status_name(ledger),
        detail=ledger.detail,
        total=ledger.planned,
        duplicates=ledger.duplicates,
        left_out=ledger.left_out,
        plan_finished=ledger.plan_finished,
        replaying=ledger.replaying,
        replayed=ledger.replayed,
        totals=ledger.totals,
        reasons=ledger.reasons,
        resolved=ledger.resolved,
        errors=ledger.errors,
        history=ledger.history,
        newest_rev=ledger.newest_rev,
        scheduled=ledger.scheduled,
        source_failed=ledger.state == "source_failed",
        submitted_at=ledger.submitted_at,
        started_at=ledger.started_at,
        finished_at=ledger.finished_at,
        cancelled_at=ledger.cancelled_at,
        progressed_at=ledger.progressed_at,
        due_at=ledger.due_at,
        stale_since=ledger.stale_since,
        updated_at=now,
    )
