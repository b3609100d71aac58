"""Jobs that are started again and again: what is to be done about a schedule now, as plain functions.

A run is a job like any other, submitted by the planner itself. Its specification, and how far the schedule is
with its due times, are one transaction: a run starts once, however often planners die.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from messaging.names import Names
from producers.chunk import Publication
from schemas.job_specs import JobSpec
from schemas.message import Message
from schemas.outcomes import JobEvent
from schemas.plans import PlanCheckpoint

SUFFIX_LENGTH = len(".20261125T030000Z")
"""What the id of a run has more than its schedule's."""
_GRACE = timedelta(minutes=1)
"""A planner that takes over so soon has missed nothing."""


class Jobs(Protocol):
    """What is asked about other jobs."""

    def spec(self, job_id: str) -> JobSpec | None:
        """The job as it stands; None if there is none of this id."""
        ...

    def ended(self, job_id: str) -> bool:
        """Whether the job has come to its end."""
        ...

    def is_known(self, job_id: str) -> bool:
        """Whether the id was ever used."""
        ...


class Standing(Protocol):
    """How a schedule stands: see producers.commands.Known."""

    @property
    def checkpoint(self) -> PlanCheckpoint:
        """How far it is."""
        ...

    @property
    def going(self) -> str | None:
        """Its run that has not ended."""
        ...


@dataclass(frozen=True)
class Step:
    """What one transaction publishes of a schedule."""

    checkpoint: PlanCheckpoint
    told: JobEvent
    run: JobSpec | None = None

    def publications(self, names: Names) -> list[Publication]:
        """Every message, the run's specification first."""
        schedule = self.checkpoint.job_id
        parts: list[tuple[str, str, Message]] = []
        if (run := self.run) is not None:
            submitted = JobEvent(
                job_id=run.job_id,
                event="submitted",
                name=run.backfill.name,
                detail=f"started by the schedule {schedule}",
                at=run.submitted_at,
            )
            parts += [(names.job_specs, run.job_id, run), (names.outcomes, run.job_id, submitted)]
        return [*parts, (names.outcomes, schedule, self.told), (names.plans, schedule, self.checkpoint)]


def step(
    spec: JobSpec, checkpoint: PlanCheckpoint, jobs: Jobs, *, now: datetime, since: datetime
) -> Step | None:
    """What is to be done about a schedule at `now`; None: nothing. `since`: the planner's taking over."""
    schedule = spec.backfill.schedule
    assert schedule is not None
    if checkpoint.cursor is None:  # it was submitted just now
        begun = checkpoint.model_copy(update={"cursor": spec.submitted_at.isoformat()})
        return _told(spec, begun, now)
    due = schedule.latest_in(datetime.fromisoformat(checkpoint.cursor), now)
    if due is None:
        return None
    going = checkpoint.run is not None and not jobs.ended(checkpoint.run)
    if schedule.missed == "once" and (going or spec.state == "paused"):
        return None  # its time comes
    handled = checkpoint.model_copy(update={"cursor": due.isoformat()})
    run_id = run_id_of(spec.job_id, due)
    if spec.state == "paused":
        return _told(spec, handled, now, due, "the schedule is paused")
    if going:
        return _told(spec, handled, now, due, f"{checkpoint.run} was still going on")
    if schedule.missed == "skip" and due < since - _GRACE:
        return _told(spec, handled, now, due, "no planner ran")
    if jobs.is_known(run_id):
        return _told(spec, handled, now, due, f"there is a job {run_id} already")
    document = spec.backfill.model_copy(update={"schedule": None})
    run = JobSpec(job_id=run_id, backfill=document, submitted_at=now)
    counted = handled.model_copy(update={"chunk": checkpoint.chunk + 1, "run": run_id})
    return Step(counted, _told(spec, counted, now).told, run)


def run_id_of(schedule: str, due: datetime) -> str:
    """The id of the run that is due then, in UTC."""
    return f"{schedule}.{due:%Y%m%dT%H%M%SZ}"


def outlook(spec: JobSpec, standing: Standing, now: datetime) -> str | None:
    """What a command leaves a schedule with, in a sentence; None for other jobs."""
    if spec.backfill.schedule is None:
        return None
    last = standing.checkpoint.run
    if spec.state == "cancelled":
        going = ", which goes on unless it is cancelled, too" if standing.going else ""
        return f"no run starts any more; {_last(last)}{going}"
    if spec.state == "paused":
        return f"no run starts until it is resumed; {_last(last)}"
    return _sentence(spec, standing.checkpoint, now)


def _told(
    spec: JobSpec, checkpoint: PlanCheckpoint, now: datetime, due: datetime | None = None, why: str = ""
) -> Step:
    detail = _sentence(spec, checkpoint, now)
    if due is not None:
        detail += f"; the run of {_written(due)} was left out: {why}"
    return Step(checkpoint, JobEvent(job_id=spec.job_id, event="scheduled", detail=detail, at=now))


def _sentence(spec: JobSpec, checkpoint: PlanCheckpoint, now: datetime) -> str:
    assert spec.backfill.schedule is not None
    due = spec.backfill.schedule.next_after(now)
    return f"{'no further run' if due is None else f'next run {_written(due)}'}; {_last(checkpoint.run)}"


def _last(run: str | None) -> str:
    return "no run yet" if run is None else f"last run {run}"


def _written(due: datetime) -> str:
    return f"{due:%Y-%m-%d %H:%M} UTC"
