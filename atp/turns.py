"""Whose turn is next at one host: jobs take turns by the number of requests they had; a job alone gets all.

A fast job may spend a window's budget at once, but not what others that wait would still use of their equal
share at their own pace before the window ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from atp.host_budget import HostBudget, Ticket

_TIDY = 256
"""Paces of jobs are looked through after so many."""
_SAME_WINDOW = 2.0
_LOOK_SECONDS = 0.05


class HostPaused(Exception):
    """The host takes no request for longer than the asker wants to wait; `until` in seconds since 1970."""

    def __init__(self, until: float) -> None:
        super().__init__(f"paused until {until:.0f}")
        self.until = until


@dataclass(eq=False)
class _Waiting:
    rate: float
    """Requests a second that the job allows."""
    patience: float
    since: float
    turn: asyncio.Future[Ticket]


@dataclass
class _Job:
    had: float = 0
    """Requests it had, beginning with what the others had when it joined."""
    next_at: float = 0.0
    """Its own pace: not before this."""
    used: int = 0
    """Requests in the window that ends at `window_ends`."""
    window_ends: float = 0.0
    waiting: dict[str, deque[_Waiting]] = field(default_factory=dict)
    """By kind, since one kind's budget may be spent and another's not."""

    def used_in(self, window_ends: float) -> int:
        """Its requests in the window that ends then."""
        return self.used if abs(self.window_ends - window_ends) < _SAME_WINDOW else 0

    def rate_of(self, kind: str) -> float:
        """The pace of those that wait for this kind; 0: none does."""
        line = self.waiting.get(kind)
        return line[0].rate if line else 0.0


class Queue:
    """Who waits at one host, and whose turn is next."""

    def __init__(
        self,
        budget: HostBudget,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        waited: Callable[[float], None],
    ) -> None:
        self._budget, self._clock, self._sleep, self._waited = budget, clock, sleep, waited
        self._jobs: dict[str, _Job] = {}
        self._served = 0.0
        """What the job had that was served last: where one begins that joins now."""
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = 0.0

    async def join(self, kind: str, job_id: str, rate: float, patience: float) -> Ticket:
        """Waits for the job's turn. Raises HostPaused where the host's pause is longer than `patience`."""
        job = self._jobs.get(job_id)
        if job is None:
            self._tidy()
            job = self._jobs[job_id] = _Job()
        if not any(job.waiting.values()):
            job.had = max(job.had, self._served)
        waiting = _Waiting(rate, patience, self._clock(), asyncio.get_running_loop().create_future())
        job.waiting.setdefault(kind, deque()).append(waiting)
        self.serve()
        try:
            return await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled() and not waiting.turn.exception():
                self._budget.lost(waiting.turn.result())  # it was given and is not wanted any more
            elif waiting in job.waiting[kind]:
                job.waiting[kind].remove(waiting)
            self.serve()
            raise

    def answered(self, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """See HostBudget."""
        self._budget.answered(ticket, headers, self._clock())
        self.serve()

    def refused(self, ticket: Ticket, headers: Mapping[str, str], pause: float | None) -> None:
        """See HostBudget."""
        self._budget.refused(ticket, headers, pause, self._clock())
        self.serve()

    def lost(self, ticket: Ticket) -> None:
        """See HostBudget."""
        if ticket.open:
            self._budget.lost(ticket)
            self.serve()

    def serve(self) -> None:
        """Gives every turn that is due, and sets the alarm for the next one."""
        now = self._clock()
        while True:
            due: list[tuple[float, float, str, str]] = []
            soonest = float("inf")
            for job_id, job in self._jobs.items():
                for kind, line in job.waiting.items():
                    if not line:
                        continue
                    host_at = self._budget.ready_at(kind, now)
                    _send_away(line, host_at, host_at - now)
                    at = max(host_at, job.next_at)
                    if line and at <= now:
                        at = self._not_before(job, kind, now)
                    if line and at <= now:
                        due.append((job.had, line[0].since, job_id, kind))
                    elif line:
                        soonest = min(soonest, at)
            if not due:
                break
            _, _, job_id, kind = min(due)
            self._give(self._jobs[job_id], kind, now)
        self._set_alarm(soonest, now)

    def _not_before(self, job: _Job, kind: str, now: float) -> float:
        """When the job may go on without taking what the others that wait would use of their share."""
        others = [other for other in self._jobs.values() if other is not job and other.rate_of(kind)]
        room = self._budget.room(kind, now) if others else None
        if room is None or job.used_in(room.ends) < (share := room.limit / (len(others) + 1)):
            return now
        lacking, speed = 1.0 - room.left, 0.0
        for other in others:
            pace = other.rate_of(kind)
            lacking += max(0.0, min(pace * (room.ends - now), share - other.used_in(room.ends)))
            speed += pace
        # They want less the nearer the end is, at the speed of their paces.
        return now if lacking <= 0 else now + max(_LOOK_SECONDS, lacking / speed)

    def _give(self, job: _Job, kind: str, now: float) -> None:
        waiting = job.waiting[kind].popleft()
        if waiting.turn.done():  # cancelled; whoever waited takes note of it in a moment
            return
        job.next_at = max(now, job.next_at) + 1 / waiting.rate
        job.had += 1
        if room := self._budget.room(kind, now):
            job.used, job.window_ends = job.used_in(room.ends) + 1, room.ends
        self._served = job.had
        waiting.turn.set_result(self._budget.sent(kind, now))
        self._waited(now - waiting.since)

    def _set_alarm(self, at: float, now: float) -> None:
        if self._alarm is not None and not self._alarm.done():
            if self._alarm_at <= at < float("inf"):
                return  # it may ring too early, which does no harm
            self._alarm.cancel()
        self._alarm, self._alarm_at = None, at
        if at < float("inf"):
            self._alarm = asyncio.create_task(self._ring(at - now))

    async def _ring(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._alarm = None
        self.serve()

    def _tidy(self) -> None:
        if len(self._jobs) >= _TIDY:
            now = self._clock()
            self._jobs = {
                name: job
                for name, job in self._jobs.items()
                if any(job.waiting.values()) or job.next_at > now
            }


def _send_away(line: deque[_Waiting], until: float, pause: float) -> None:
    """Those who don't wait for a pause of so many seconds wait no longer."""
    if pause <= 0:
        return
    for waiting in [waiting for waiting in line if waiting.patience < pause]:
        line.remove(waiting)
        if not waiting.turn.done():
            waiting.turn.set_exception(HostPaused(until))
