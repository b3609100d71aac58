"""Cancelled jobs in a worker: nothing of them begins, what is under way is broken off, what waits ends.

Only what a download has brought to its end is still published: it is verified and whole. Nobody waits for a
host, a place or a retry's time on behalf of a job that nobody wants any more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from schemas.job_specs import JobSpec
from stream_workers.fetch.ending import Cancelled, Ending, Requeued, Retry
from stream_workers.fetch.jobs import Jobs
from stream_workers.fetch.schedule import Schedule, Work
from stream_workers.fetch.visits import Back, Visits


class Cancelling:
    """Life: `visit` for each go; `look` whenever jobs have changed; `take` what is to end as cancelled."""

    def __init__(self, jobs: Jobs, schedule: Schedule, visits: Visits) -> None:
        """For the event loop's thread."""
        self._jobs, self._schedule, self._visits = jobs, schedule, visits
        self._going: dict[Work, asyncio.Task[Ending | Back]] = {}
        self._waiting: deque[Work] = deque()
        self._some = asyncio.Event()

    def concerns(self, job_id: str) -> bool:
        """Whether the job was cancelled."""
        spec = self._jobs.spec(job_id)
        return spec is not None and spec.state == "cancelled"

    async def visit(self, work: Work, spec: JobSpec) -> Ending | Back:
        """As `Visits.visit`; ends as cancelled as soon as the job is, with its connection closed."""
        job_id = work.did_task.job_id
        if self.concerns(job_id):
            return Cancelled()
        going = asyncio.create_task(self._visits.visit(work, spec))
        self._going[work] = going
        try:
            found = await going
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if not self.concerns(job_id) or (this is not None and this.cancelling()):
                raise  # the partition goes, or the process
            return Cancelled()
        finally:
            del self._going[work]
        if self.concerns(job_id) and (callable(found) or isinstance(found, Retry | Requeued)):
            self._visits.forget(work)
            return Cancelled()
        return found

    def look(self) -> None:
        """Breaks off what is under way for cancelled jobs, and takes their other tasks from the schedule."""
        for work, going in self._going.items():
            if self.concerns(work.did_task.job_id):
                going.cancel()
        if cancelled := set(filter(self.concerns, self._schedule.waiting_jobs())):
            for work in self._schedule.call_off(cancelled):
                self._visits.forget(work)
                self.add(work)

    def add(self, work: Work) -> None:
        """A task of a cancelled job came; it is nobody else's."""
        self._waiting.append(work)
        self._some.set()

    async def take(self, most: int) -> list[Work]:
        """Tasks that are to end as cancelled, `most` at once; waits until there are some."""
        await self._some.wait()
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        if not self._waiting:
            self._some.clear()
        return taken

    def drop(self, wanted: Callable[[Work], bool]) -> None:
        """Forgets tasks for which `wanted` is false: their partitions are gone."""
        self._waiting = deque(filter(wanted, self._waiting))
        if not self._waiting:
            self._some.clear()
