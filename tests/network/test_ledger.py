"""The ledger counts every request, however it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from local.network.faults import Slow
from local.network.ledger import Ledger, Request
from local.network.network import Network

Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def test_requests_are_counted_by_host_and_by_account(http: aiohttp.ClientSession) -> None:
    async with Network(seed=3, accounts=4, hosts=2, records=30, spread=0) as network:
        get_repo = "/xrpc/com.atproto.sync.getRepo"
        sizes = []
        for number in (0, 0, 2, 1):
            params = {"did": network.dids[number]}
            async with http.get(network.hosts[number % 2] + get_repo, params=params) as response:
                sizes.append(len(await response.read()))
        async with http.get(f"{network.plc_url}/{network.dids[0]}") as response:
            assert response.status == 200
        async with http.get(network.hosts[0] + get_repo, params={"did": network.dids[1]}) as response:
            assert response.status == 400
            refused = len(await response.read())
        ledger = network.ledger
        assert ledger.count() == 6
        assert ledger.count(host="pds0") == 4
        assert ledger.count(host="pds0", method="com.atproto.sync.getRepo", status=200) == 3
        assert ledger.count(did=network.dids[0]) == 3
        assert ledger.count(did=network.dids[0], method="did") == 1
        assert ledger.count(ending="complete", status=400) == 1
        assert ledger.bytes_sent("pds0") == sum(sizes[:3]) + refused
        assert ledger.bytes_sent("pds1") == sizes[3]
        first = next(ledger.requests())
        assert (first.user_agent, first.status, first.bytes) == ("tests/1", 200, sizes[0])
        assert first.path == f"{get_repo}?did={network.dids[0]}"
        assert first.port > 0
        assert first.seconds >= 0
        with pytest.raises(TypeError):
            ledger.count(host="pds0", did=network.dids[0])


async def test_concurrency_is_measured_per_host(http: aiohttp.ClientSession) -> None:
    async with Network(seed=3, accounts=4, hosts=2, records=3, faults=[Slow(host=0, seconds=0.3)]) as network:

        async def ask(host: int) -> None:
            async with http.get(network.hosts[host] + "/xrpc/_health") as response:
                assert response.status == 200

        await asyncio.gather(*(ask(0) for _ in range(7)))
        assert network.ledger.most_in_flight("pds0") == 7
        assert network.ledger.most_in_flight("pds1") == 0


async def test_a_client_that_leaves_is_noted(http: aiohttp.ClientSession, until: Until) -> None:
    async with Network(seed=3, accounts=2, hosts=1, records=3, faults=[Slow(host=0, seconds=0.3)]) as network:
        with pytest.raises(TimeoutError):
            await http.get(network.hosts[0] + "/xrpc/_health", timeout=aiohttp.ClientTimeout(total=0.05))

        async def is_over() -> bool:
            return bool(list(network.ledger.requests()))

        await until(is_over)
        assert [entry.ending for entry in network.ledger.requests()] == ["client_gone"]


async def test_the_ledger_over_http(http: aiohttp.ClientSession) -> None:
    async with Network(seed=3, accounts=2, hosts=1, records=3) as network:
        for _ in range(2):
            async with http.get(network.hosts[0] + "/xrpc/_health") as response:
                assert response.status == 200
        async with http.get(network.plc_url + "/_ledger") as response:
            ledger = json.loads(await response.read())
        assert ledger["counts"] == [
            {"host": "pds0", "method": "_health", "status": 200, "ending": "complete", "count": 2}
        ]
        assert len(ledger["requests"]) == 2
        assert ledger["hosts"]["pds0"]["in_flight"] == 0
        async with http.get(network.plc_url + "/_ledger", params={"requests": "0"}) as response:
            assert json.loads(await response.read())["requests"] == []


def entry(host: str) -> Request:
    return Request(0.0, host, "did", "did:plc:x", 200, 10, 0.0, "complete", "", 1, "/")


def test_counts_outlive_the_requests_remembered() -> None:
    ledger = Ledger(lambda: 1.0, keep=3)
    for _ in range(5):
        ledger.answered(ledger.arrived("plc"), entry("plc"))
    assert ledger.count(host="plc") == ledger.count(did="did:plc:x") == 5
    assert len(list(ledger.requests())) == 3
    assert ledger.most_in_flight("plc") == 1


def test_the_busiest_moment_of_a_host() -> None:
    arrivals = [0.0, 0.5, 0.99, 1.0, 1.2, 5.0]
    ledger = Ledger(lambda: 9.0)
    for since in arrivals:
        ledger.arrived("pds0")
        ledger.answered(since, entry("pds0"))
    assert ledger.busiest("pds0") == 4  # from 0.5 to 1.2; a second is half open
    assert ledger.busiest("pds0", seconds=0.1) == 2
    assert ledger.busiest("pds1") == 0
