"""How a job stands and why, in one or two plain sentences, for everybody who shows a status.

A pure function of the status: what it says is no more than the counts tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from schemas.job_status import Counts, JobStatus
from schemas.words import ranked

_MOST_NAMED = 3
"""Reasons that a sentence names."""


def explain(status: JobStatus) -> str:
    """One or two sentences that say how the job stands, and where it is not complete, why."""
    if status.scheduled:
        return _schedule(status)
    match status.status:
        case "queued" | "processing":
            return _stale(status) if status.stale_since is not None else _going(status)
        case "paused":
            return f"It is paused{_so_far(status)}; resume it to go on."
        case "complete":
            return _complete(status)
        case "partial_success":
            return f"{_failures(status)} {_ends(status.totals)} The failed ones can be tried again."
        case "cancelled":
            return _cancelled(status)
        case "error":
            return _error(status)


def _schedule(status: JobStatus) -> str:
    """It has no accounts of its own; its detail says when it starts a job, and when it did so last."""
    paused = ", and paused" if status.status == "paused" else ""
    return f"It is a schedule{', and cancelled' if status.final else paused}{_because(status)}"


def _going(status: JobStatus) -> str:
    if status.cancelled_at is not None:
        left = max(0, status.outstanding)
        return f"It is being cancelled; {_accounts(left)} planned before that {_are(left)} still to end."
    if status.source_failed:
        return (
            f"Its source could not be read to the end{_because(status)} Of {_accounts(status.total)} planned "
            f"before that, {max(0, status.outstanding):,} are still to be done."
        )
    if status.status == "queued":
        return "It waits for the planner: jobs take turns, and none of its accounts is planned yet."
    if status.replaying:
        again = status.replaying
        return f"{_done(status)} {_accounts(again)} that had failed {_are(again)} tried again."
    if not status.plan_finished:
        if not status.total:
            return "Its source is being read, and its accounts are looked up; none of them is planned yet."
        return f"{_done(status)} Its source is still being read, so there may be more to come."
    return f"{_done(status)} {_left(status)}"


def _left(status: JobStatus) -> str:
    left, retrying = status.outstanding, status.totals.retrying
    if retrying >= left > 0:
        until = f", the last at {_time(status.due_at)}" if status.due_at is not None else ""
        return f"{_accounts(left)} that failed before {_are(left)} left, and will be tried again{until}."
    if retrying:
        return f"{_accounts(left)} {_are(left)} left, {retrying:,} of them to be tried again after a failure."
    return f"{_accounts(left)} {_are(left)} left."


def _stale(status: JobStatus) -> str:
    """What such a job waits for, as far as its counts tell."""
    assert status.stale_since is not None
    quiet = f"Nothing has come for it since {_time(status.stale_since)}, though work is due:"
    left = max(0, status.outstanding)
    if status.started_at is None:
        return f"{quiet} it waits to be planned. See whether a planner (`skyfill producer`) runs."
    if status.plan_finished and left and status.totals.retrying >= left:
        waiting = f"it waits for {_accounts(left)} to be tried again"
    elif left:
        waiting = f"it waits for {_accounts(left)}"
    else:
        return f"{quiet} it waits for the rest of its plan. See whether a planner (`skyfill producer`) runs."
    known = f"{waiting}, and the latest failure was {failed}" if (failed := _latest(status)) else waiting
    return f"{quiet} {known}. Either their hosts are down, or no worker (`skyfill worker`) runs."


def _complete(status: JobStatus) -> str:
    if not status.total:
        left_out = _named(status.left_out)
        beside = f" It held what is no account of the job: {left_out}." if left_out else ""
        return f"Its source names no account, so there was nothing to do.{beside}"
    if status.totals.completed == status.total:
        return f"All of its {_accounts(status.total)} {_are(status.total)} completed."
    beside = ""
    if status.totals.unavailable:
        beside = f" Unavailable means that there is nothing to fetch: {_named(status.totals.unavailable_by)}."
    return f"All of its {_accounts(status.total)} {_are(status.total)} done. {_ends(status.totals)}{beside}"


def _cancelled(status: JobStatus) -> str:
    if not status.total:
        return "It was cancelled before it started: none of its accounts was planned."
    ended = status.totals.terminal - status.totals.cancelled
    if not ended:
        return f"It was cancelled before any of its {_accounts(status.total)} was fetched."
    under_way = max(0, status.outstanding)
    rest = f" {_accounts(under_way)} {_were(under_way)} still under way." if under_way else ""
    planned = _accounts(status.total)
    return f"It was cancelled after {ended:,} of {planned} planned. {_ends(status.totals)}{rest}"


def _error(status: JobStatus) -> str:
    if status.source_failed:
        if not status.total:
            return f"Its source gave no account to fetch{_because(status)}"
        planned = _accounts(status.total)
        return (
            f"Its source failed half-way{_because(status)} That was after {planned} {_were(status.total)} "
            f"planned; those were fetched. {_ends(status.totals)}"
        )
    if not status.total:
        return f"It was refused{_because(status)}"
    return f"{_failures(status)} Not one succeeded; once the cause is mended, they can be tried again."


def _failures(status: JobStatus) -> str:
    failed = status.totals.failed
    latest = f"; the latest failure was {told}" if (told := _latest(status)) else ""
    return f"{failed:,} of {_accounts(status.total)} failed ({_named(status.totals.failed_by)}){latest}."


def _latest(status: JobStatus) -> str:
    """The latest sample of an error; empty where none is kept."""
    samples = [sample for summary in status.errors.values() for sample in summary.samples]
    if not samples:
        return ""
    sample = max(samples, key=lambda one: one.at)
    return sample.reason + (f" at {sample.host}" if sample.host else "")


def _done(status: JobStatus) -> str:
    done = max(0, status.totals.terminal - status.replaying)
    planned = (
        f"{_accounts(status.total)} planned so far" if not status.plan_finished else _accounts(status.total)
    )
    return f"{done:,} of {planned} {_are(done)} done."


def _so_far(status: JobStatus) -> str:
    if not status.total:
        return " before any of its accounts was planned"
    return f", {max(0, status.totals.terminal - status.replaying):,} of {_accounts(status.total)} done"


def _ends(totals: Counts) -> str:
    """How many came to which end."""
    ends = ("completed", "skipped", "unavailable", "failed", "cancelled")
    told = [f"{number:,} {end}" for end in ends if (number := getattr(totals, end))]
    return f"{_listed(told).capitalize()}." if told else "Nothing came of any of them."


def _named(counts: Mapping[str, int]) -> str:
    """The most frequent names with their numbers."""
    names = ranked(counts)
    told = [f"{number:,} {name}" for name, number in names[:_MOST_NAMED]]
    if rest := sum(number for _, number in names[_MOST_NAMED:]):
        told.append(f"{rest:,} others")
    return _listed(told)


def _because(status: JobStatus) -> str:
    """The detail after a colon, as the end of a sentence."""
    detail = (status.detail or "").strip()
    if not detail:
        return "."
    return f": {detail}" if detail.endswith((".", "!", "?", "…")) else f": {detail}."


def _listed(parts: list[str]) -> str:
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def _accounts(number: int) -> str:
    return f"{number:,} account" if number == 1 else f"{number:,} accounts"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
