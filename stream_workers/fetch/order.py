"""What a strategy is asked for, and what it works with. Strategies know accounts and hosts, but nothing of
attempts, moves and endings: these are the fetcher's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from atp.limiter import HostLimiter
from atp.repo import Records
from atp.xrpc import Client
from schemas.backfill import Processing
from schemas.dids import DidTask
from schemas.errors import RateLimited
from stream_workers.fetch.budget import ByteBudget, Spool
from stream_workers.fetch.ending import Fetched, Requeued, Strategy, Unchanged
from stream_workers.fetch.events import RepoEvents
from stream_workers.fetch.kept import KeptDownloads
from stream_workers.fetch.selection import Selection

_MOST_REFUSALS = 30
"""429 answers that one go puts up with before it spends an attempt."""
T = TypeVar("T")


class Refusals:
    """The 429 answers of one go: the limiter waits after each, and the request is made again."""

    def __init__(self) -> None:
        self._count = 0

    def another(self, error: RateLimited) -> None:
        """Counts one; raises it once there were too many."""
        self._count += 1
        if self._count >= _MOST_REFUSALS:
            raise error


@dataclass(frozen=True)
class Order:
    """One account's records for one job, now."""

    task: DidTask
    processing: Processing
    selection: Selection
    limiter: HostLimiter
    refusals: Refusals


@dataclass(frozen=True)
class Means:
    """What strategies share. `reader` runs the reading beside the event loop; one thread is right."""

    client: Client
    budget: ByteBudget
    reader: Executor
    kept: KeptDownloads
    spool_bytes: int
    spool_folder: Path
    clock: Callable[[], float]

    async def spool(self) -> Spool:
        """An empty spool, once there is room in the budget."""
        await self.budget.room()
        return Spool(self.budget, self.spool_bytes, self.spool_folder)

    async def read(self, compute: Callable[[], T]) -> T:
        """Runs `compute` in the reading thread."""
        return await asyncio.get_running_loop().run_in_executor(self.reader, compute)

    def fetched(
        self, order: Order, records: Records, commit: str, spool: Spool, strategy: Strategy
    ) -> Fetched:
        """The ending that these records are; for the reading thread, since it makes the messages."""
        events = RepoEvents(records, order.task.job_id, order.task.pds, order.selection, self.clock())
        messages = None if spool.on_disk else list(events)
        return Fetched(records.rev, commit, spool.size, events, messages, spool, strategy)


class FetchStrategy(Protocol):
    """One way to get an account's records."""

    async def fetch(self, order: Order) -> Fetched | Unchanged | Requeued:
        """The records, proven; or that there are no new ones; or the task for where the account lives now.

        Raises XrpcError's, RepoError's and IdentityError's subclasses, and OSError where a disk is full.
        Holds nothing but what is in a `Fetched`, whatever its end.
        """
