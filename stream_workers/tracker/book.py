"""The books of one job: outcomes in, counts and a status out. Pure; each outcome must be entered once.

That it is once is the transaction's doing: the ledger is committed with the offsets of what it counted.
"""

from __future__ import annotations

from datetime import datetime

from schemas.job_status import Counts, JobStatus, Ledger, Status
from schemas.outcomes import JobEvent, PlanOutcome, RepoOutcome

UNRESOLVED = "(unresolved)"
"""Stands for the host of accounts that no host could be found for."""


def enter(ledger: Ledger, outcome: RepoOutcome | PlanOutcome | JobEvent, at: datetime) -> bool:
    """Enters one outcome, written at `at`, into the ledger, in place; False if it changes nothing."""
    match outcome:
        case RepoOutcome():
            _enter_repo(ledger, outcome)
        case PlanOutcome() if ledger.finished_at is None:
            ledger.planned = outcome.planned
            ledger.duplicates = outcome.duplicates
            ledger.left_out = dict(outcome.left_out)
            ledger.plan_finished = ledger.plan_finished or outcome.finished
        case JobEvent(event="ignored" | "noted"):
            return False
        case JobEvent() if ledger.finished_at is None or ledger.state == "rejected":
            _enter_event(ledger, outcome)
        case _:
            return False  # a job that has ended stays as it is
    if not isinstance(outcome, JobEvent):
        ledger.started_at = ledger.started_at or at
    if ledger.finished_at is None and _ended(ledger):
        ledger.finished_at = at
    return True


def status_of(ledger: Ledger, now: datetime) -> JobStatus:
    """What everybody is told of the job."""
    return JobStatus(
        job_id=ledger.job_id,
        name=ledger.name,
        status=_status(ledger),
        detail=ledger.detail,
        total=ledger.planned,
        duplicates=ledger.duplicates,
        left_out=ledger.left_out,
        plan_finished=ledger.plan_finished,
        totals=ledger.totals,
        hosts=ledger.hosts,
        reasons=ledger.reasons,
        submitted_at=ledger.submitted_at,
        started_at=ledger.started_at,
        finished_at=ledger.finished_at,
        updated_at=now,
    )


def _enter_repo(ledger: Ledger, outcome: RepoOutcome) -> None:
    host = ledger.hosts.setdefault(outcome.host or UNRESOLVED, Counts())
    for counts in (ledger.totals, host):
        if outcome.error_type:
            _add(counts.errors, {outcome.error_type: 1})
        if outcome.status != "retrying":
            setattr(counts, outcome.status, getattr(counts, outcome.status) + 1)
        counts.records += sum(outcome.records.values())
        counts.bytes += outcome.bytes
        _add(counts.by_type, outcome.records)
        _add(counts.dropped, outcome.dropped)
    if outcome.status == "retrying":
        ledger.totals.retrying += outcome.attempt == 1
    else:
        ledger.totals.retrying -= outcome.attempt > 1
    if outcome.status in ("unavailable", "failed"):
        _add(ledger.reasons, {outcome.reason or "unknown": 1})


def _enter_event(ledger: Ledger, event: JobEvent) -> None:
    match event.event:
        case "submitted":
            ledger.state, ledger.name, ledger.submitted_at = "active", event.name, event.at
            ledger.detail = ledger.finished_at = None
        case "paused" | "resumed" if ledger.state == "source_failed":
            pass  # what is left of the job runs on, or not; it ends in error all the same
        case "paused":
            ledger.state = "paused"
        case "resumed":
            ledger.state = "active"
        case "cancelled":
            ledger.state = "cancelled"
        case "rejected":
            ledger.state, ledger.detail, ledger.name = "rejected", event.detail, event.name
        case "source_failed":
            ledger.state, ledger.detail, ledger.plan_finished = "source_failed", event.detail, True
        case _:
            pass  # ignored, see `enter`


def _ended(ledger: Ledger) -> bool:
    if ledger.state == "rejected":
        return True
    return ledger.plan_finished and ledger.totals.terminal >= ledger.planned


def _status(ledger: Ledger) -> Status:
    if ledger.finished_at is None:
        if ledger.state == "paused":
            return "paused"
        return "processing" if ledger.started_at else "queued"
    if ledger.state in ("rejected", "source_failed"):
        return "error"
    if ledger.state == "cancelled":
        return "cancelled"
    return "partial_success" if ledger.totals.failed else "complete"


def _add(counts: dict[str, int], more: dict[str, int]) -> None:
    for key, number in more.items():
        counts[key] = counts.get(key, 0) + number
