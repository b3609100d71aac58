"""The PLC directory has a budget as any host has: what it advertises is kept to, refusals are learnt from."""

from __future__ import annotations

import asyncio

import pytest

from atp.identity import Identity, Resolver
from atp.retry import Backoff
from atp.xrpc import Client
from local.network.faults import Fault, HiddenLimit, RateLimited
from local.network.network import Network
from schemas.errors import IdentityUnreachable

ACCOUNTS, AT_ONCE = 60, 8
_ENDLESS = 3600


async def resolved(network: Network) -> list[Identity | BaseException]:
    async with Client(allow_private_hosts=True) as client:
        resolver = Resolver(client, plc_url=network.plc_url, concurrency=AT_ONCE)
        return await asyncio.gather(*map(resolver.resolve, network.dids), return_exceptions=True)


@pytest.mark.parametrize(
    "fault", [RateLimited("plc", limit=25, window=1), HiddenLimit("plc", limit=25, window=1)]
)
async def test_a_directory_that_limits_costs_no_account(fault: Fault) -> None:
    """Sixty accounts through windows of 25, some of which refuse without a word of when they end."""
    async with Network(seed=2, accounts=ACCOUNTS, hosts=1, records=1, faults=[fault]) as network:
        found = await resolved(network)
        assert [identity.did for identity in found if isinstance(identity, Identity)] == list(network.dids)
        refused = network.ledger.count(host="plc", status=429)
        assert network.ledger.count(host="plc") == ACCOUNTS + refused
        # Those under way when the budget runs out unseen, and those that ask for its end.
        most = AT_ONCE if isinstance(fault, RateLimited) else 4 * AT_ONCE
        assert refused <= most


async def test_an_advertised_budget_is_never_run_into() -> None:
    """A hundred ask at once, the budget is for twenty: eighty do not even try."""
    fault = RateLimited("plc", limit=20, window=_ENDLESS)
    async with (
        Network(seed=2, accounts=100, hosts=1, records=1, faults=[fault]) as network,
        Client(allow_private_hosts=True) as client,
    ):
        resolver = Resolver(client, plc_url=network.plc_url, concurrency=AT_ONCE)
        asking = [asyncio.create_task(resolver.resolve(did)) for did in network.dids]
        for _ in range(20):
            done, asking = await first_of(asking)
            assert isinstance(done, Identity)
        await asyncio.sleep(0.2)
        assert not any(task.done() for task in asking)
        assert network.ledger.count(host="plc") == network.ledger.count(host="plc", status=200) == 20
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_after_a_refusal_nobody_asks_before_its_time() -> None:
    fault = HiddenLimit("plc", limit=3, window=_ENDLESS, retry_after=True)
    async with (
        Network(seed=2, accounts=12, hosts=1, records=1, faults=[fault]) as network,
        Client(allow_private_hosts=True) as client,
    ):
        once = Backoff(attempts=1)
        resolver = Resolver(client, plc_url=network.plc_url, concurrency=1, backoff=once)
        for did in network.dids[:3]:
            await resolver.resolve(did)
        with pytest.raises(IdentityUnreachable):
            await resolver.resolve(network.dids[3])
        waiting = asyncio.create_task(resolver.resolve(network.dids[4]))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        waiting.cancel()
        assert network.ledger.count(host="plc") == 4


async def first_of(
    tasks: list[asyncio.Task[Identity]],
) -> tuple[Identity, list[asyncio.Task[Identity]]]:
    """The answer of one that is done, and the others."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=60)
    one = next(iter(done))
    return one.result(), [task for task in tasks if task is not one]
