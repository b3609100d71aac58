"""The books of one job: outcomes in, counts and a status out. Pure; each outcome must be entered once.

That it is once is the transaction's doing: the ledger is committed with the offsets of what it counted.
A replayed account stays counted as failed until its new outcome takes the old one's place, so that the counts
always add up to the plan.
"""

from __future__ import annotations

from datetime import datetime

from schemas.job_status import Counts, JobStatus, Ledger, Status
from schemas.outcomes import JobEvent, PlanOutcome, Replaced, RepoOutcome

UNRESOLVED = "(unresolved)"
"""Stands for the host of accounts that no host could be found for."""
UNKNOWN = "unknown"
"""Stands for a reason that nobody told."""


def enter(ledger: Ledger, outcome: RepoOutcome | PlanOutcome | JobEvent, at: datetime) -> bool:
    """Enters one outcome, written at `at`, into the ledger, in place; False if it changes nothing."""
    match outcome:
        case RepoOutcome() if outcome.replaces is not None and not ledger.replaying:
            return False  # none was announced that has not come: a repeat, or not the planner's doing
        case RepoOutcome():
            _enter_repo(ledger, outcome)
        case PlanOutcome() if ledger.finished_at is None:
            ledger.planned = outcome.planned
            ledger.duplicates = outcome.duplicates
            ledger.left_out = dict(outcome.left_out)
            ledger.plan_finished = ledger.plan_finished or outcome.finished
        case JobEvent(event="ignored" | "noted"):
            return False
        case JobEvent(event="replayed"):
            _enter_replay(ledger, outcome)
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
        replaying=ledger.replaying,
        replayed=ledger.replayed,
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
    elif outcome.attempt > 1:
        ledger.totals.retrying = max(0, ledger.totals.retrying - 1)
    if outcome.status in ("skipped", "unavailable", "failed"):
        _add(ledger.reasons, {outcome.reason or UNKNOWN: 1})
    if outcome.replaces is not None and outcome.status != "retrying":
        _take_back(ledger, outcome.replaces)


def _take_back(ledger: Ledger, replaced: Replaced) -> None:
    """The account has ended again: its former end counts no more. Its attempts did fail, and stay counted."""
    ledger.replaying -= 1
    for counts in (ledger.totals, ledger.hosts.get(replaced.host or UNRESOLVED)):
        if counts is not None:
            setattr(counts, replaced.status, max(0, getattr(counts, replaced.status) - 1))
    reason = replaced.reason or UNKNOWN
    if left := max(0, ledger.reasons.get(reason, 0) - 1):
        ledger.reasons[reason] = left
    else:
        ledger.reasons.pop(reason, None)


def _enter_replay(ledger: Ledger, event: JobEvent) -> None:
    """The job goes on, if only until these accounts have ended again."""
    ledger.replaying += event.count or 0
    ledger.replayed += event.count or 0
    ledger.gathering = event.gathering or 0
    ledger.finished_at = None


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
            pass  # ignored and replayed, see `enter`


def _ended(ledger: Ledger) -> bool:
    if ledger.state == "rejected":
        return True
    if ledger.replaying or ledger.gathering:
        return False
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
