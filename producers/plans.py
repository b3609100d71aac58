"""The plans that are under way, one for each active job, and whose turn is next.

A large job may not fill what the workers read ahead: those that come after it would wait for all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from producers import seen
from producers.job_plan import JobPlan
from producers.planned_jobs import PlannedJobs
from producers.resolve import Resolves
from producers.room import Room
from producers.sources import Reach, open_source
from producers.sources.plc import forget_log
from schemas.job_specs import JobSpec
from schemas.settings import Settings


class Plans:
    """Life: as long as there is a `next_job`, `begin_turn` of it and ask its `plan`; `drop` one that is
    finished or cancelled, `drop_all` when the place is lost."""

    def __init__(
        self,
        settings: Settings,
        jobs: PlannedJobs,
        reach: Reach,
        resolver: Resolves,
        runner: asyncio.Runner,
        room: Room,
        *,
        only_job: str | None,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Plans work on `runner`'s loop. `only_job`: plan no other job."""
        self._settings, self._jobs, self._reach = settings, jobs, reach
        self._resolver, self._runner, self._room = resolver, runner, room
        self._only_job, self._now, self._monotonic = only_job, now, monotonic
        self._small = settings.planner.tasks_per_partition
        self.most_waiting = self._small * settings.kafka.partitions.dids
        """A job with more tasks that are neither done nor parked gets no new ones."""
        self._folder = settings.data_dir / "plans"
        self._plans: dict[str, JobPlan] = {}
        self._turns: dict[str, int] = {}
        self._turn = 0

    def next_job(self) -> JobSpec | None:
        """Of the jobs that may be planned on now, the one whose last turn lies farthest back."""
        ready = [
            spec
            for spec in self._jobs.unfinished()
            if self._only_job in (None, spec.job_id) and self._may_have_more(spec.job_id)
        ]
        return min(ready, key=lambda spec: self._turns.get(spec.job_id, 0), default=None)

    def begin_turn(self, job_id: str) -> None:
        """The others come before it from now on."""
        self._turn += 1
        self._turns[job_id] = self._turn

    def plan(self, spec: JobSpec) -> JobPlan:
        """The job's plan, opened at its checkpoint if it is not open yet."""
        if spec.job_id not in self._plans:
            self._plans[spec.job_id] = JobPlan(
                spec,
                self._jobs.checkpoint(spec.job_id),
                open_source(spec, self._reach),
                self._resolver,
                folder=self._folder,
                concurrency=self._settings.network.plc_concurrency,
                chunk_seconds=self._settings.planner.chunk_seconds,
                now=self._now,
                monotonic=self._monotonic,
            )
        return self._plans[spec.job_id]

    def published(self, tasks: int) -> None:
        """A chunk of so many tasks was committed."""
        self._room.taken(tasks)

    def drop(self, job_id: str) -> None:
        """Breaks off the job's plan, if there is one; what it keeps on disk goes once it is finished."""
        plan = self._plans.pop(job_id, None)
        self._turns.pop(job_id, None)
        if plan is not None:
            self._runner.run(plan.close())
        self._tidy(job_id)

    def drop_all(self) -> None:
        """Breaks off every plan."""
        for job_id in list(self._plans):
            self.drop(job_id)

    def tidy(self) -> None:
        """What plans have left on disk that were finished elsewhere, or right before a kill."""
        for job_id in seen.kept(self._folder):
            self._tidy(job_id)

    def _may_have_more(self, job_id: str) -> bool:
        waiting = self._jobs.waiting(job_id)
        if waiting <= self._small:  # even if all of it is in one partition, it is in nobody's way
            return True
        return waiting <= self.most_waiting and self._room.is_left()

    def _tidy(self, job_id: str) -> None:
        if self._jobs.checkpoint(job_id).finished:
            seen.forget(self._folder, job_id)
            forget_log(self._settings, job_id)
