"""What the planner knows of every job: its spec, how far its plan is, and what the tracker has counted.

Specs and checkpoints are the planner's own writing: read back once when it takes over, then kept in step with
what it commits. Statuses are the tracker's and may lag behind; nothing exact may depend on them.
"""

from __future__ import annotations

from collections.abc import Iterable

from messaging.names import Names
from messaging.views import CompactedView
from producers.commands import Known
from schemas.job_specs import JobSpec
from schemas.job_status import JobStatus
from schemas.plans import PlanCheckpoint
from schemas.settings import KafkaSettings


class PlannedJobs:
    """Life: made, `restore` on each taking over, then `take` what was committed; `close`."""

    def __init__(self, kafka: KafkaSettings) -> None:
        names = Names(kafka.topic_prefix)
        self._spec_view = CompactedView(kafka, names.job_specs, JobSpec.decode)
        self._plan_view = CompactedView(kafka, names.plans, PlanCheckpoint.decode)
        self._status_view = CompactedView(kafka, names.job_status, JobStatus.decode)
        self._specs: dict[str, JobSpec] = {}
        self._plans: dict[str, PlanCheckpoint] = {}
        self._replayed: dict[str, int] = {}
        """Accounts of each job that were replayed, as far as this planner knows better than the tracker."""

    def restore(self) -> None:
        """Reads everything to its end. Raises DeploymentError where that can't be done."""
        for view in (self._spec_view, self._plan_view, self._status_view):
            view.catch_up()
        self._specs = dict(self._spec_view.items)
        self._plans = dict(self._plan_view.items)
        self._replayed.clear()

    def poll(self) -> list[JobStatus]:
        """Takes in new statuses; returns those of jobs that have just ended."""
        before = {job_id for job_id, status in self._status_view.items.items() if status.final}
        changed = self._status_view.poll() - before
        return [status for job_id in changed if (status := self.status(job_id)) and status.final]

    def wants_alert(self, job_id: str) -> bool:
        """Whether the job's document asks for a loud word when it ends other than complete."""
        spec = self._specs.get(job_id)
        return spec is not None and spec.backfill.monitoring.alert_on_failure

    def watch(self) -> None:
        """For a planner that is not the active one: takes in what the active one commits."""
        for view in (self._spec_view, self._plan_view):
            view.poll()
        self.poll()
        self._specs, self._plans = dict(self._spec_view.items), dict(self._plan_view.items)

    def known(self, job_id: str) -> Known | None:
        """What is known of a job id; None if it was never seen."""
        spec, plan, status = self._specs.get(job_id), self._plans.get(job_id), self.status(job_id)
        if spec is None and plan is None and status is None:
            return None
        checkpoint = plan or PlanCheckpoint(job_id=job_id)
        going = checkpoint.run if checkpoint.run and not self.ended(checkpoint.run) else None
        return Known(spec, checkpoint, status is not None and status.final, going)

    def is_known(self, job_id: str) -> bool:
        """Whether the id was ever used."""
        return self.known(job_id) is not None

    def spec(self, job_id: str) -> JobSpec | None:
        """The job as it stands; None if there is none of this id."""
        return self._specs.get(job_id)

    def reopen(self, job_id: str, accounts: int) -> None:
        """The job goes on, with so many accounts again, though the tracker may not have heard of it yet."""
        status = self.status(job_id)
        if status is not None:
            told = max(self._replayed.get(job_id, 0), status.replayed)
            self._replayed[job_id] = told + accounts
            if status.final:
                going_on = {"status": "processing", "finished_at": None}
                self._status_view.items[job_id] = status.model_copy(update=going_on)

    def status(self, job_id: str) -> JobStatus | None:
        """What the tracker said last."""
        return self._status_view.items.get(job_id)

    def take(self, specs: Iterable[JobSpec], checkpoints: Iterable[PlanCheckpoint]) -> None:
        """What this planner has just committed."""
        self._specs |= {spec.job_id: spec for spec in specs}
        self._plans |= {checkpoint.job_id: checkpoint for checkpoint in checkpoints}

    def checkpoint(self, job_id: str) -> PlanCheckpoint:
        """How far the job's plan is; at the beginning if there is none."""
        return self._plans.get(job_id) or PlanCheckpoint(job_id=job_id)

    def unfinished(self) -> list[JobSpec]:
        """Active jobs whose plan is to be gone on with, in the order of their submission."""
        found = [
            spec
            for spec in self._specs.values()
            if spec.state == "active"
            and spec.backfill.schedule is None
            and not self.checkpoint(spec.job_id).finished
            and not self.ended(spec.job_id)
        ]
        return sorted(found, key=lambda spec: (spec.submitted_at, spec.job_id))

    def schedules(self) -> list[JobSpec]:
        """Schedules that were not cancelled."""
        return [
            spec
            for spec in self._specs.values()
            if spec.backfill.schedule is not None and spec.state != "cancelled"
        ]

    def waiting(self, job_id: str) -> int:
        """Tasks that were planned and are neither done nor parked for a retry, as far as is known."""
        status, planned = self.status(job_id), self.checkpoint(job_id).planned
        if status is None:
            return planned
        untold = max(0, self._replayed.get(job_id, 0) - status.replayed)
        known = status.replaying - status.totals.terminal - status.totals.retrying
        return planned + known + untold

    def ended(self, job_id: str) -> bool:
        """Whether the tracker has ended the job."""
        status = self.status(job_id)
        return status is not None and status.final

    def close(self) -> None:
        """Leaves the topics."""
        for view in (self._spec_view, self._plan_view, self._status_view):
            view.close()
