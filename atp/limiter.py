"""How fast one host may be asked: what it advertises, what it punishes, and what the jobs allow.

Whoever asks a host holds its one limiter, so no coordination is needed. Jobs that wait at a host take turns
by the number of requests they had; a job alone gets all. A turn that is cancelled is given up at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field

from atp.host_budget import HostBudget, Ticket
from schemas.errors import RateLimited, XrpcError

_TIDY = 256
"""Paces of jobs are looked through after so many."""


class HostPaused(Exception):
    """The host takes no request for longer than the asker wants to wait; `until` in seconds since 1970."""

    def __init__(self, until: float) -> None:
        super().__init__(f"paused until {until:.0f}")
        self.until = until


class Turn:
    """One request that may be sent now. Whoever gets an answer says so with `answered`."""

    def __init__(self, queue: Queue, ticket: Ticket) -> None:
        self._queue, self._ticket = queue, ticket

    def answered(self, headers: Mapping[str, str]) -> None:
        """The head of an answer came. Errors need no word: they carry their headers."""
        self._queue.answered(self._ticket, headers)


class HostLimiter:
    """The limiter of one host: `turn` for each request."""

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        budget: HostBudget | None = None,
        waited: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`clock` gives seconds since 1970; `waited` is told how long each request had to wait."""
        self.budget = budget or HostBudget()
        self._queue = Queue(self.budget, clock, sleep, waited)
        self._patience = float("inf")

    def visit(self, patience: float) -> HostLimiter:
        """The same limiter for somebody who goes away rather than wait for a pause longer than `patience`, in
        seconds.

        Once a request of the visit was answered, it waits as long as it takes: what was begun is finished.
        """
        visit = copy(self)
        visit._patience = patience
        return visit

    @asynccontextmanager
    async def turn(self, kind: str, job_id: str, rate: float) -> AsyncIterator[Turn]:
        """Waits for a turn; the request belongs inside, from its sending to the last byte of its answer.

        `kind` is the last word of the XRPC method, e.g. `getRepo`: hosts count some of them apart. `rate` is
        the job's requests per second. What the request raises passes through. Raises HostPaused in a visit.
        """
        ticket = await self._queue.join(kind, job_id, rate, self._patience)
        turn = Turn(self._queue, ticket)
        try:
            yield turn
        except RateLimited as error:
            self._queue.refused(ticket, error.headers or {}, error.retry_after)
            raise
        except XrpcError as error:
            if error.headers is not None:
                turn.answered(error.headers)
            raise
        else:
            turn.answered({})
            self._patience = float("inf")
        finally:
            self._queue.lost(ticket)

    def ready_at(self, kind: str, now: float) -> float:
        """When the host takes a request of this kind, whatever the jobs' paces; now or earlier: at once."""
        return self.budget.ready_at(kind, now)

    def abandon(self, job_id: str) -> None:
        """The turns that this job waits for raise HostPaused at once: it was cancelled."""
        self._queue.abandon(job_id)


@dataclass(eq=False)
class _Waiting:
    rate: float
    patience: float
    since: float
    turn: asyncio.Future[Ticket]


@dataclass
class _Job:
    had: float = 0
    """Requests it had, beginning with what the others had when it joined."""
    next_at: float = 0.0
    """Its own pace: not before this."""
    waiting: dict[str, deque[_Waiting]] = field(default_factory=dict)
    """By kind, since one kind's budget may be spent and another's not."""


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

    def abandon(self, job_id: str) -> None:
        """See HostLimiter."""
        if job := self._jobs.get(job_id):
            for line in job.waiting.values():
                for waiting in line:
                    if not waiting.turn.done():
                        waiting.turn.set_exception(HostPaused(self._clock()))
                line.clear()

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
                        due.append((job.had, line[0].since, job_id, kind))
                    elif line:
                        soonest = min(soonest, at)
            if not due:
                break
            _, _, job_id, kind = min(due)
            self._give(self._jobs[job_id], kind, now)
        self._set_alarm(soonest, now)

    def _give(self, job: _Job, kind: str, now: float) -> None:
        waiting = job.waiting[kind].popleft()
        if waiting.turn.done():  # cancelled; whoever waited takes note of it in a moment
            return
        job.next_at = max(now, job.next_at) + 1 / waiting.rate
        job.had += 1
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
