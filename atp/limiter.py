"""How fast one host may be asked: what it advertises, what it punishes, and what the jobs allow.

Whoever asks a host holds its one limiter, so no coordination is needed. A turn that is cancelled is given up
at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from copy import copy

from atp.host_budget import HostBudget, Ticket
from atp.turns import HostPaused, Queue
from schemas.errors import RateLimited, XrpcError

__all__ = ["HostLimiter", "HostPaused", "Turn"]


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
