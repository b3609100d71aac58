"""Which task is next: hosts side by side, jobs by turns within a host, an account never twice at once.

Pure bookkeeping in memory; what may run is decided here, how fast by the host's limiter.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from messaging.task_stream import Task
from schemas.backfill import Processing
from schemas.dids import DidTask
from schemas.job_specs import JobSpec


@dataclass(frozen=True, eq=False)
class Work:
    """A task as it was delivered, and what it says. Compared by identity."""

    task: Task
    did_task: DidTask


@dataclass
class _Host:
    ready: OrderedDict[str, deque[Work]] = field(default_factory=OrderedDict)
    """By job; the job whose turn it is comes first."""
    running: dict[str, int] = field(default_factory=dict)
    """Tasks under way, by job."""


class Schedule:
    """Life of a task: `add`, come out of `next_work`, then `done` (or `defer`, and come out again)."""

    def __init__(self, spec: Callable[[str], JobSpec | None]) -> None:
        """`spec` gives the present specification of a job id."""
        self._spec = spec
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._later: list[tuple[float, int, Work]] = []
        self._held: dict[str, list[Work]] = {}
        self._count = itertools.count()
        self._dids: set[str] = set()
        self._hosts_of_job: dict[str, set[str]] = {}

    def add(self, work: Work, now: float) -> None:
        """A task came, or came back; `now` in seconds since 1970."""
        due = work.did_task.not_before.timestamp() if work.did_task.not_before else 0.0
        self.defer(work, due) if due > now else self._make_ready(work)

    def defer(self, work: Work, until: float) -> None:
        """Not before `until`, seconds since 1970."""
        heapq.heappush(self._later, (until, next(self._count), work))

    def hold(self, work: Work) -> None:
        """Not before `release` is called for its job: the job is paused."""
        self._held.setdefault(work.did_task.job_id, []).append(work)

    def release(self, job_id: str) -> None:
        """The job goes on, or was cancelled: what was held for it is ready."""
        for work in self._held.pop(job_id, []):
            self._make_ready(work)

    def hasten(self, job_id: str) -> None:
        """Its deferred tasks are ready now: the job was cancelled, and there is nothing to wait for."""
        ready = [entry[2] for entry in self._later if entry[2].did_task.job_id == job_id]
        self._later = [entry for entry in self._later if entry[2].did_task.job_id != job_id]
        heapq.heapify(self._later)
        for work in ready:
            self._make_ready(work)

    def deferred_jobs(self) -> set[str]:
        """Jobs with deferred tasks."""
        return {work.did_task.job_id for _, _, work in self._later}

    def held_jobs(self) -> list[str]:
        """Jobs with tasks on hold."""
        return list(self._held)

    def next_work(self, now: float) -> Work | None:
        """Something that may run now; it counts as running until `done`. None: nothing may."""
        while self._later and self._later[0][0] <= now:
            self._make_ready(heapq.heappop(self._later)[2])
        for origin in list(self._hosts):
            host = self._hosts[origin]
            if work := self._pick(origin, host):
                self._hosts.move_to_end(origin)  # the next call looks at the other hosts first
                return work
        return None

    def next_due(self) -> float | None:
        """When the earliest deferred task is due, seconds since 1970."""
        return self._later[0][0] if self._later else None

    def done(self, work: Work) -> None:
        """No longer running: its slot and its account are free again."""
        job_id, origin = work.did_task.job_id, work.did_task.pds
        self._dids.discard(work.did_task.did)
        host = self._hosts[origin]
        host.running[job_id] -= 1
        if not host.running[job_id]:
            del host.running[job_id]
            self._hosts_of_job[job_id].discard(origin)
        if not host.ready and not host.running:
            del self._hosts[origin]

    def drop(self, wanted: Callable[[Work], bool]) -> None:
        """Forgets the waiting tasks for which `wanted` is false: their partitions are gone."""
        for origin, host in list(self._hosts.items()):
            for job_id, queue in list(host.ready.items()):
                if kept := deque(w for w in queue if wanted(w)):
                    host.ready[job_id] = kept
                else:
                    del host.ready[job_id]
            if not host.ready and not host.running:
                del self._hosts[origin]
        self._later = [entry for entry in self._later if wanted(entry[2])]
        heapq.heapify(self._later)
        self._held = {
            job: waiting for job, works in self._held.items() if (waiting := list(filter(wanted, works)))
        }

    def farthest(self) -> Iterator[Work]:
        """Waiting tasks that will not run soon, those on hold first, then by how late they are due."""
        for works in self._held.values():
            yield from works
        for _, _, work in sorted(self._later, key=lambda entry: entry[:2], reverse=True):
            yield work

    def withdraw(self, works: set[Work]) -> None:
        """Forgets these waiting tasks: they went elsewhere."""
        self.drop(lambda work: work not in works)

    def _make_ready(self, work: Work) -> None:
        host = self._hosts.setdefault(work.did_task.pds, _Host())
        host.ready.setdefault(work.did_task.job_id, deque()).append(work)

    def _pick(self, origin: str, host: _Host) -> Work | None:
        if sum(host.running.values()) >= self._most_at(host):
            return None
        for job_id in list(host.ready):
            if not self._may_run(job_id, origin, host):
                continue
            queue = host.ready[job_id]
            for _ in range(len(queue)):
                work = queue.popleft()
                if work.did_task.did in self._dids:
                    queue.append(work)
                    continue
                self._take(work, origin, host, queue)
                return work
        return None

    def _take(self, work: Work, origin: str, host: _Host, queue: deque[Work]) -> None:
        job_id = work.did_task.job_id
        self._dids.add(work.did_task.did)
        host.running[job_id] = host.running.get(job_id, 0) + 1
        self._hosts_of_job.setdefault(job_id, set()).add(origin)
        host.ready.move_to_end(job_id)
        if not queue:
            del host.ready[job_id]

    def _may_run(self, job_id: str, origin: str, host: _Host) -> bool:
        limits = self._limits(job_id)
        if host.running.get(job_id, 0) >= limits.max_concurrent_per_pds:
            return False
        hosts = self._hosts_of_job.get(job_id, set())
        return origin in hosts or len(hosts) < limits.max_concurrent_pds

    def _most_at(self, host: _Host) -> int:
        """Tasks that may run at a host: what the most generous of its jobs allows, so that none starves."""
        jobs = host.ready.keys() | host.running.keys()
        return max(self._limits(job_id).max_concurrent_per_pds for job_id in jobs)

    def _limits(self, job_id: str) -> Processing:
        spec = self._spec(job_id)
        return spec.backfill.processing if spec else Processing()
