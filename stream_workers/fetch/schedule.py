"""Which task is next: hosts side by side, jobs by turns within a host, an account never twice at once.

Pure bookkeeping in memory; what may run is decided here, how fast by the host's limiter. A host that is
closed costs nothing: its tasks wait without a place. One that never answered yet, or fails at present, is a
suspect: it has one place, of a number apart from that of the others.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from messaging.task_stream import Task
from schemas.backfill import Processing
from schemas.dids import DidTask
from schemas.job_specs import JobSpec


@dataclass(frozen=True, eq=False)
class Work:
    """A task as it was delivered, and what it says. Compared by identity."""

    task: Task
    did_task: DidTask


SUSPECTS = 2
"""Suspects that a job may ask at once, as a multiple of its `max_concurrent_pds`."""


class Gate(Protocol):
    """What the schedule asks about hosts."""

    def ready_at(self, task: DidTask, processing: Processing) -> float:
        """When the task's host may be asked, seconds since 1970; now or earlier: at once."""
        ...

    def is_suspect(self, origin: str) -> bool:
        """Whether the host never answered yet, or fails at present."""
        ...


@dataclass
class _Host:
    ready: OrderedDict[str, deque[Work]] = field(default_factory=OrderedDict)
    """By job; the job whose turn it is comes first."""
    running: dict[str, int] = field(default_factory=dict)
    """Tasks under way, by job."""


class Schedule:
    """Life of a task: `add`, come out of `next_work`, then `done` (or `defer`, and come out again)."""

    def __init__(self, spec: Callable[[str], JobSpec | None], gate: Gate) -> None:
        """`spec` gives the present specification of a job id."""
        self._spec, self._gate = spec, gate
        self._closed: dict[str, float] = {}
        """Hosts of which every ready task waits for the host, until when."""
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

    def again(self, work: Work) -> None:
        """Its host takes nothing now: it is the next of its job there."""
        self._make_ready(work, first=True)

    def hold(self, work: Work) -> None:
        """Not before `release` is called for its job: the job is paused."""
        self._held.setdefault(work.did_task.job_id, []).append(work)

    def release(self, job_id: str) -> None:
        """The job goes on: what was held for it is ready."""
        for work in self._held.pop(job_id, []):
            self._make_ready(work)

    def call_off(self, job_ids: Collection[str]) -> list[Work]:
        """Tasks of these jobs that do not run, whatever they wait for: they are the schedule's no more."""
        found = [work for job_id in job_ids for work in self._held.pop(job_id, ())]
        found += [entry[2] for entry in self._later if entry[2].did_task.job_id in job_ids]
        self._later = [entry for entry in self._later if entry[2].did_task.job_id not in job_ids]
        heapq.heapify(self._later)
        for origin, host in list(self._hosts.items()):
            for job_id in host.ready.keys() & job_ids:
                found += host.ready.pop(job_id)
            self._tidy(origin)
        return found

    def waiting_jobs(self) -> set[str]:
        """Jobs with tasks that do not run."""
        ready = {job_id for host in self._hosts.values() for job_id in host.ready}
        return ready | self._held.keys() | {work.did_task.job_id for _, _, work in self._later}

    def held_jobs(self) -> list[str]:
        """Jobs with tasks on hold."""
        return list(self._held)

    def next_work(self, now: float) -> Work | None:
        """Something that may run now; it counts as running until `done`. None: nothing may."""
        while self._later and self._later[0][0] <= now:
            self._make_ready(heapq.heappop(self._later)[2])
        for origin in list(self._hosts):
            if self._closed.get(origin, 0.0) > now:
                continue
            host = self._hosts[origin]
            if work := self._pick(origin, host, now):
                self._hosts.move_to_end(origin)  # the next call looks at the other hosts first
                return work
        return None

    def next_due(self) -> float | None:
        """When the earliest deferred task is due, or a closed host opens, seconds since 1970."""
        later = self._later[0][0] if self._later else None
        opens = min(self._closed.values(), default=None)
        return min((at for at in (later, opens) if at is not None), default=None)

    def look_again(self) -> None:
        """Jobs have changed: what waits for a closed host may not have to."""
        self._closed.clear()

    def done(self, work: Work) -> None:
        """No longer running: its slot and its account are free again."""
        job_id, origin = work.did_task.job_id, work.did_task.pds
        self._dids.discard(work.did_task.did)
        self._closed.pop(origin, None)  # the host may be open, or closed, since
        host = self._hosts[origin]
        host.running[job_id] -= 1
        if not host.running[job_id]:
            del host.running[job_id]
            self._hosts_of_job[job_id].discard(origin)
        self._tidy(origin)

    def drop(self, wanted: Callable[[Work], bool]) -> None:
        """Forgets the waiting tasks for which `wanted` is false: their partitions are gone."""
        for origin, host in list(self._hosts.items()):
            for job_id, queue in list(host.ready.items()):
                if kept := deque(w for w in queue if wanted(w)):
                    host.ready[job_id] = kept
                else:
                    del host.ready[job_id]
            self._tidy(origin)
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

    def jobs_by_host(self) -> dict[str, set[str]]:
        """Jobs with ready or deferred tasks, by their hosts."""
        found = {origin: set(host.ready) for origin, host in self._hosts.items()}
        for _, _, work in self._later:
            found.setdefault(work.did_task.pds, set()).add(work.did_task.job_id)
        return found

    def take_all(self, pairs: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[Work]]:
        """The ready and deferred tasks of these hosts and jobs, which are the schedule's no more."""
        found: dict[tuple[str, str], list[Work]] = {pair: [] for pair in pairs}
        for origin, job_id in pairs:
            if host := self._hosts.get(origin):
                found[origin, job_id] += host.ready.get(job_id, ())
        for _, _, work in self._later:
            if (pair := (work.did_task.pds, work.did_task.job_id)) in found:
                found[pair].append(work)
        self.withdraw({work for works in found.values() for work in works})
        return found

    def others_at(self, work: Work) -> bool:
        """Whether tasks of further accounts wait or run at a running task's host."""
        host = self._hosts[work.did_task.pds]
        ready = (other for queue in host.ready.values() for other in queue)
        return sum(host.running.values()) > 1 or any(o.did_task.did != work.did_task.did for o in ready)

    def crowding(self, topic: str, partition: int, now: float) -> list[tuple[float, list[Work]]]:
        """Ready tasks of that partition which wait for closed hosts: until when, and which, oldest first."""
        found = []
        for origin, until in self._closed.items():
            if until > now and (host := self._hosts.get(origin)):
                works = [
                    work
                    for queue in host.ready.values()
                    for work in queue
                    if (work.task.topic, work.task.partition) == (topic, partition)
                ]
                if works:
                    found.append((until, sorted(works, key=lambda work: work.task.offset)))
        return found

    def _tidy(self, origin: str) -> None:
        host = self._hosts[origin]
        if not host.ready and not host.running:
            del self._hosts[origin]
            self._closed.pop(origin, None)

    def _make_ready(self, work: Work, *, first: bool = False) -> None:
        origin, job_id = work.did_task.pds, work.did_task.job_id
        queue = self._hosts.setdefault(origin, _Host()).ready.setdefault(job_id, deque())
        if not queue:
            self._closed.pop(origin, None)  # it may be a job that need not wait for the host
        if first:
            queue.appendleft(work)
        else:
            queue.append(work)

    def _pick(self, origin: str, host: _Host, now: float) -> Work | None:
        suspect = self._gate.is_suspect(origin)
        if sum(host.running.values()) >= self._most_at(host):
            return None
        opens: list[float] = []
        for job_id in list(host.ready):
            queue = host.ready[job_id]
            spec = self._spec(job_id)
            if spec is None or spec.state == "active":  # else nothing is asked of the host
                opens.append(self._gate.ready_at(queue[0].did_task, self._limits(job_id)))
                if opens[-1] > now or (suspect and host.running):
                    continue
            if not self._may_run(job_id, origin, host, suspect=suspect):
                continue
            for _ in range(len(queue)):
                work = queue.popleft()
                if work.did_task.did in self._dids:
                    queue.append(work)
                    continue
                self._take(work, origin, host, queue)
                return work
        if len(opens) == len(host.ready) and opens and min(opens) > now:
            self._closed[origin] = min(opens)
        return None

    def _take(self, work: Work, origin: str, host: _Host, queue: deque[Work]) -> None:
        job_id = work.did_task.job_id
        self._dids.add(work.did_task.did)
        host.running[job_id] = host.running.get(job_id, 0) + 1
        self._hosts_of_job.setdefault(job_id, set()).add(origin)
        host.ready.move_to_end(job_id)
        if not queue:
            del host.ready[job_id]

    def _may_run(self, job_id: str, origin: str, host: _Host, *, suspect: bool) -> bool:
        limits = self._limits(job_id)
        if host.running.get(job_id, 0) >= limits.max_concurrent_per_pds:
            return False
        hosts = self._hosts_of_job.get(job_id, set())
        if origin in hosts:
            return True
        suspects = sum(self._gate.is_suspect(other) for other in hosts)
        if suspect:
            return suspects < SUSPECTS * limits.max_concurrent_pds
        return len(hosts) - suspects < limits.max_concurrent_pds

    def _most_at(self, host: _Host) -> int:
        """Tasks that may run at a host: what the most generous of its jobs allows, so that none starves."""
        jobs = host.ready.keys() | host.running.keys()
        return max(self._limits(job_id).max_concurrent_per_pds for job_id in jobs)

    def _limits(self, job_id: str) -> Processing:
        spec = self._spec(job_id)
        return spec.backfill.processing if spec else Processing()
