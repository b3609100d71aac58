"""One fetcher beside a simulated network, for the tests of strategies."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from atp.identity import Resolver
from atp.limiter import HostLimiter
from atp.retry import Backoff
from atp.xrpc import Client
from local.network.network import Network
from schemas.dids import DidTask
from stream_workers.fetch.budget import ByteBudget
from stream_workers.fetch.ending import Ending, Fetched
from stream_workers.fetch.fetcher import Fetcher
from stream_workers.fetch.selection import Selection
from tests.atp.test_limiter import Clock
from tests.stream_workers.deployment import tasks_of
from tests.stream_workers.documents import job_spec

POST, PROFILE = "app.bsky.feed.post", "app.bsky.actor.profile"
LIST, DESCRIBE, LATEST = (
    "com.atproto.repo.listRecords",
    "com.atproto.repo.describeRepo",
    "com.atproto.sync.getLatestCommit",
)
GET_RECORD, GET_REPO = "com.atproto.repo.getRecord", "com.atproto.sync.getRepo"
PLENTY = 2**24
SIZE = 700
"""Records of account 0: some 200 of them are posts, two pages and a bit."""


class Place:
    """One fetcher beside a simulated network; account 0 is the one with many records."""

    def __init__(self, network: Network, client: Client, reader: ThreadPoolExecutor, folder: Path) -> None:
        self.network, self.client, self.reader, self.folder = network, client, reader, folder
        self.budget = ByteBudget(PLENTY)
        clock = Clock()
        self.limiter = HostLimiter(clock, clock.sleep)
        self.fetcher = self.make(PLENTY)

    def make(self, spool_bytes: int) -> Fetcher:
        resolver = Resolver(self.client, plc_url=self.network.plc_url, backoff=Backoff(attempts=1))
        return Fetcher(
            self.client,
            resolver,
            self.budget,
            self.reader,
            spool_bytes=spool_bytes,
            spool_folder=self.folder,
        )

    def task(self, number: int = 0, **fields: object) -> DidTask:
        (task,) = tasks_of(self.network, "job", [number], **fields)
        return task

    async def go(
        self, task: DidTask, strategy: str = "list", max_retries: int = 3, seconds: float = 300, **fields: Any
    ) -> Ending:
        limits = {"requests_per_second": 1000, "max_retries": max_retries, "strategy": strategy}
        limits["timeout_seconds"] = seconds
        spec = job_spec("job", processing=limits, **fields)
        ending = await self.fetcher.fetch(task, spec, Selection(spec.backfill), self.limiter)
        if isinstance(ending, Fetched):
            ending.spool.close()
        assert self.budget.used == 0
        return ending

    async def events(self, task: DidTask, strategy: str = "list", **fields: Any) -> list[dict[str, Any]]:
        """The events of one go but for when, how and for which job they were made."""
        ending = await self.go(task, strategy, **fields)
        assert isinstance(ending, Fetched), ending
        assert (ending.strategy, ending.proof) == (strategy, "commit" if strategy == "repo" else "cid")
        assert ending.messages is not None
        return [plain(message) for message in ending.messages]

    def asked(self, method: str, did: str | None = None) -> int:
        return self.network.ledger.count(did=did or self.task().did, method=method)


def plain(message: bytes) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(message)
    assert event.pop("proof") in ("commit", "cid")
    assert event.pop("job") == "job"
    assert event.pop("time_us") > 0
    return event
