"""One fetcher on accounts of the reference network, without Kafka."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from atp.identity import Resolver
from atp.limiter import HostLimiter, Turn
from atp.xrpc import Client
from schemas.dids import DidTask
from stream_workers.fetch.budget import ByteBudget
from stream_workers.fetch.ending import Ending, Fetched
from stream_workers.fetch.fetcher import Fetcher
from stream_workers.fetch.selection import Selection
from tests.reference.accounts import Account
from tests.reference.reference import ReferenceNetwork
from tests.stream_workers.documents import job_spec

Event = dict[str, Any]


class Interrupted(HostLimiter):
    """Calls `before` ahead of the first requests of a kind: somebody writes at the worst moment."""

    def __init__(self, kind: str, times: int, before: Callable[[], Awaitable[object]]) -> None:
        super().__init__(time.time)
        self._kind, self.left, self._before = kind, times, before

    @asynccontextmanager
    async def turn(self, kind: str, job_id: str, rate: float) -> AsyncIterator[Turn]:
        if kind == self._kind and self.left:
            self.left -= 1
            await self._before()
        async with super().turn(kind, job_id, 1e9) as turn:
            yield turn


async def nothing() -> None:
    """What nobody does meanwhile."""


class Fetching:
    """`go` at an account; `events` for those who want them only."""

    def __init__(self, fetcher: Fetcher, resolver: Resolver) -> None:
        self._fetcher, self._resolver = fetcher, resolver

    async def go(
        self,
        account: Account,
        strategy: str = "repo",
        *,
        limiter: HostLimiter | None = None,
        task: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Ending:
        """`task`: more fields of the task; `fields`: keys of the document."""
        identity = await self._resolver.resolve(account.did)
        spec = job_spec("job", processing={"strategy": strategy}, **fields)
        asked = DidTask.model_validate(
            {"job_id": "job", "did": account.did, "pds": identity.pds, "signing_key": identity.signing_key}
            | (task or {})
        )
        limiter = limiter or Interrupted("", 0, nothing)
        ending = await self._fetcher.fetch(asked, spec, Selection(spec.backfill), limiter)
        if isinstance(ending, Fetched):
            ending.spool.close()
        return ending

    async def events(self, account: Account, strategy: str = "repo", **how: Any) -> list[Event]:
        """Events without when, how and for which job they were made."""
        return events_of(await self.go(account, strategy, **how))


def events_of(ending: Ending) -> list[Event]:
    assert isinstance(ending, Fetched), ending
    assert ending.messages is not None
    return [
        {
            name: value
            for name, value in orjson.loads(message).items()
            if name not in ("proof", "job", "time_us")
        }
        for message in ending.messages
    ]


@asynccontextmanager
async def fetching(network: ReferenceNetwork, folder: Path) -> AsyncIterator[Fetching]:
    with ThreadPoolExecutor(1) as reader:
        async with Client(allow_private_hosts=True) as client:
            resolver = Resolver(client, plc_url=network.plc_url)
            budget = ByteBudget(2**26)
            fetcher = Fetcher(
                client, resolver, budget, reader, spool_bytes=2**26, spool_folder=folder / "spool"
            )
            yield Fetching(fetcher, resolver)
            assert budget.used == 0
