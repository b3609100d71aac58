"""One go at one account as its host sees it: what it tells of the host, and whom it costs an attempt.

A go that the host's own failure cut short spends nothing: the task comes back into the schedule.
"""

from __future__ import annotations

from collections.abc import Callable

from schemas.job_specs import JobSpec
from stream_workers.fetch import doubts
from stream_workers.fetch.doubts import Doubts
from stream_workers.fetch.ending import Ending, Failed, Retry, Waiting
from stream_workers.fetch.fetcher import Fetcher
from stream_workers.fetch.hosts import WORTH_WAITING, Hosts, is_evidence
from stream_workers.fetch.jobs import Jobs
from stream_workers.fetch.schedule import Schedule, Work

Back = Callable[[], None]
"""Puts the task back into the schedule, to be called once it no longer runs."""


class Visits:
    """`visit` may run many times at once."""

    def __init__(
        self, fetcher: Fetcher, hosts: Hosts, schedule: Schedule, jobs: Jobs, clock: Callable[[], float]
    ) -> None:
        """`clock` gives seconds since 1970."""
        self._fetcher, self._hosts, self._schedule, self._jobs = fetcher, hosts, schedule, jobs
        self._clock = clock
        self._doubts = Doubts()

    async def visit(self, work: Work, spec: JobSpec) -> Ending | Back:
        """The ending of one go, or how the task comes back."""
        task, schedule = work.did_task, self._schedule
        host = self._hosts.of(task.pds, work.task.partition)
        if blamed := self._doubts.settle(work, host, others=schedule.others_at(work)):
            return blamed
        started, refusals = self._clock(), host.limiter.budget.refusals
        limiter = host.limiter.visit(WORTH_WAITING)
        ending = await self._fetcher.fetch(task, spec, self._jobs.selection(spec), limiter)
        if isinstance(ending, Waiting):
            host.paused(refusals)
            return lambda: schedule.again(work)
        host.heard(task, ending, started)
        if isinstance(ending, Failed | Retry) and ending.host in ("failed", "never_connected"):
            if host.breaker.is_open:
                return lambda: schedule.add(work, self._clock())  # the next probe is another account
            if is_evidence(task, ending):
                self._doubts.keep(work, ending, host)
                return lambda: schedule.defer(work, self._clock() + doubts.SECONDS)
        return ending

    def forget(self, work: Work) -> None:
        """The task went elsewhere."""
        self._doubts.forget(work)

    def drop(self, wanted: Callable[[Work], bool]) -> None:
        """Tasks for which `wanted` is false went elsewhere."""
        self._doubts.drop(wanted)
