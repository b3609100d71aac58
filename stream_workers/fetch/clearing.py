"""Tasks that would only block are sent away: to the retry topic, or, with a host given up, to their end.

A partition whose window is full is not read on. What fills it, and may not run yet, makes room for what lies
behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice

from messaging.names import Names
from stream_workers.fetch.ending import GivenUp, Requeued
from stream_workers.fetch.hosts import Host, Hosts
from stream_workers.fetch.jobs import Jobs
from stream_workers.fetch.metrics import HostMetrics
from stream_workers.fetch.schedule import Schedule, Work

_LOOK_SECONDS = 1.0
_ROTATE = 1000
_ROTATE_SECONDS = 10.0
_CROWD = 4
"""A closed host that holds a quarter of a full window crowds others out."""
UNPUBLISHED = 2**63
"""Stands for the number of a commit while a letter is on its way."""

Sent = tuple[Work, Requeued | GivenUp]


class Clearing:
    """`look` now and then; what it gives is to be settled, and is the schedule's no more."""

    def __init__(
        self,
        names: Names,
        schedule: Schedule,
        hosts: Hosts,
        jobs: Jobs,
        full: Callable[[str], set[int]],
        metrics: HostMetrics,
        *,
        window: int,
        give_up_seconds: float,
    ) -> None:
        """`full` gives the partitions of a topic that are not read on; `window` is what they may hold."""
        self._names, self._schedule, self._hosts, self._jobs = names, schedule, hosts, jobs
        self._full, self._metrics = full, metrics
        self._window, self._give_up_seconds = window, give_up_seconds
        self._looked_at = self._cleared_at = 0.0

    def look(self, now: float) -> Iterator[Sent]:
        """What goes away now, at most once a second; `now` in seconds since 1970."""
        if now < self._looked_at + _LOOK_SECONDS:
            return
        self._looked_at = now
        yield from self._give_up()
        if now >= self._cleared_at + _ROTATE_SECONDS:
            cleared = [*self._park(now), *self._rotate()]
            if cleared:
                self._cleared_at = now
            yield from cleared

    def _give_up(self) -> Iterator[Sent]:
        """The tasks of jobs that no longer wait for their host."""
        failing = self._hosts.failing()
        jobs = self._schedule.jobs_by_host() if failing else {}
        given_up = {
            (host.origin, job_id): host
            for host in failing
            for job_id in jobs.get(host.origin, ())
            if self._is_over(host, job_id)
        }
        if not given_up:
            return
        for (_, job_id), works in self._schedule.take_all(given_up.keys()).items():
            yield from self._ended(given_up[works[0].did_task.pds, job_id], job_id, works)

    def _is_over(self, host: Host, job_id: str) -> bool:
        spec = self._jobs.spec(job_id)
        if spec is None or spec.state != "active":
            return False
        patience = spec.backfill.processing.host_give_up_seconds or self._give_up_seconds
        return host.is_given_up(job_id, patience)

    def _ended(self, host: Host, job_id: str, works: list[Work]) -> Iterator[Sent]:
        since = host.breaker.failing_since or 0.0
        detail = (
            f"{host.origin} has not answered once since {datetime.fromtimestamp(since, UTC):%F %R} UTC; "
            f"its accounts end without being tried again. Replay them once it answers"
        )
        accounts = None if job_id in host.given_up else len(works)
        if accounts is not None:
            host.given_up[job_id] = UNPUBLISHED
            self._metrics.given_up()
        for place, work in enumerate(works):
            yield work, GivenUp(detail, since, accounts if place == 0 else None)

    def _park(self, now: float) -> Iterator[Sent]:
        """The oldest tasks of the closed host that has most of a full partition: they hold up the commit."""
        for topic in (self._names.dids, self._names.dids_retry):
            for partition in self._full(topic):
                crowds = self._schedule.crowding(topic, partition, now)
                until, works = max(crowds, key=lambda crowd: len(crowd[1]), default=(0.0, []))
                if len(works) * _CROWD < self._window:
                    continue
                chosen = works[:_ROTATE]
                self._schedule.withdraw(set(chosen))
                due = datetime.fromtimestamp(until, UTC)
                for work in chosen:
                    self._metrics.parked()
                    yield work, Requeued(work.did_task.model_copy(update={"not_before": due}))

    def _rotate(self) -> Iterator[Sent]:
        """A full retry partition's farthest tasks go to its tail, so that what is due behind them is read."""
        full = self._full(self._names.dids_retry)
        if not full:
            return
        candidates = (
            work
            for work in self._schedule.farthest()
            if work.task.topic == self._names.dids_retry and work.task.partition in full
        )
        chosen = set(islice(candidates, _ROTATE))
        self._schedule.withdraw(chosen)
        for work in chosen:
            yield work, Requeued(work.did_task)
