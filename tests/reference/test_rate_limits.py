"""The reference PDS with its own rate limits: what it says of them, and that ours are never met with a 429.

The simulated network is held against what is recorded here, so what the limiter learns there holds here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from atp.limiter import HostLimiter
from atp.xrpc import Client
from local.java import default_cache_dir
from local.network.faults import RateLimited
from local.network.network import Network
from tests.reference import accounts
from tests.reference.install import install
from tests.reference.reference import ReferenceNetwork

pytestmark = [pytest.mark.reference, pytest.mark.timeout(900)]

LIMIT, SESSIONS, WINDOW = 3000, 30, 300
"""Of the whole PDS, and of createSession, which stands for a limit that is quickly met; in seconds."""
TOLD = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy", "Retry-After")

Said = tuple[int, dict[str, str]]
"""A status, and what was said of limits; the reset in seconds from the answer's Date."""


@pytest_asyncio.fixture
async def pds(tmp_path: Path) -> AsyncIterator[str]:
    """A PDS that limits rates."""
    modules = await asyncio.to_thread(install, default_cache_dir())
    network = ReferenceNetwork(modules, tmp_path, pdses=1, rate_limits=True)
    await network.start()
    yield network.pds_urls[0]
    await network.stop()


def said(response: aiohttp.ClientResponse) -> Said:
    headers: Mapping[str, str] = response.headers
    told = {name: headers[name] for name in TOLD if name in headers}
    if "RateLimit-Reset" in told:
        ends = float(told["RateLimit-Reset"])
        told["RateLimit-Reset"] = "soon" if WINDOW - 15 <= ends - time.time() <= WINDOW else str(ends)
    return response.status, told


async def queries(session: aiohttp.ClientSession, host: str, did: str) -> list[Said]:
    """Some requests of each kind, an error among them."""
    asked = [
        ("sync.getRepo", {"did": did}),
        ("repo.listRecords", {"repo": did, "collection": "app.bsky.feed.post"}),
        ("sync.getLatestCommit", {"did": did}),
        ("sync.getRepo", {"did": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}),
        ("sync.getRepo", {"did": did}),
    ]
    found = []
    for method, params in asked:
        async with session.get(f"{host}/xrpc/com.atproto.{method}", params=params) as response:
            await response.read()
            found.append(said(response))
    return found


async def test_the_simulated_network_counts_as_the_reference_does(pds: str) -> None:
    async with aiohttp.ClientSession() as session:
        account = await accounts.create_account(session, pds)
        recorded = await queries(session, pds, account.did)
        first = int(recorded[0][1]["RateLimit-Remaining"])
        refused = []
        url = f"{pds}/xrpc/com.atproto.server.createSession"
        for _ in range(SESSIONS + 1):
            async with session.post(url, json={"identifier": "x.test", "password": "y"}) as response:
                refused.append(said(response)[1])
                last = (response.status, await response.json())

        faults = [RateLimited(0, limit=LIMIT, window=WINDOW), RateLimited(1, limit=SESSIONS, window=WINDOW)]
        async with Network(seed=1, accounts=2, hosts=2, records=3, faults=faults) as network:
            did = network.dids[0]
            url = f"{network.hosts[0]}/xrpc/_health"
            for _ in range(LIMIT - 1 - first):  # the account was made by as many requests
                async with session.get(url):
                    pass
            assert await queries(session, network.hosts[0], did) == recorded
            simulated = []
            for _ in range(SESSIONS + 1):
                async with session.get(f"{network.hosts[1]}/xrpc/_health") as response:
                    simulated.append(said(response)[1])
                    body = await response.json()
            assert (response.status, body) == last
            assert simulated == refused
    assert {told["RateLimit-Reset"] for _, told in recorded} == {"soon"}


@pytest.mark.long
async def test_3500_requests_over_the_end_of_a_window_meet_no_429(pds: str) -> None:
    """There is no learning phase: the PDS tells of its window with every answer."""
    requests, lanes = 3500, 8
    limiter, statuses, left = HostLimiter(time.time), list[float](), iter(range(requests))
    async with aiohttp.ClientSession() as session, Client(allow_private_hosts=True) as client:
        account = await accounts.create_account(session, pds)

        async def lane() -> None:
            for _ in left:
                async with (
                    limiter.turn("getRepo", "job", 1000) as turn,
                    client.get_repo(account.pds, account.did) as download,
                ):
                    turn.answered(download.headers)
                    statuses.append(time.monotonic())
                    assert b"".join([chunk async for chunk in download])

        started = time.monotonic()
        await asyncio.gather(*[lane() for _ in range(lanes)])
    seconds = statuses[-1] - started
    before = sum(at - started < WINDOW / 2 for at in statuses)
    print(f"{requests} requests in {seconds:.1f} s, {before} of them before the window's end, no 429")
    assert limiter.budget.refusals == 0
    assert len(statuses) == requests
    assert seconds > WINDOW - 15  # it did wait for the next window
    assert before > 0.99 * LIMIT
