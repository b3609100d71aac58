"""A worker that is killed and started again: budgets learnt by the first spare the second every refusal, and
a host that comes back has cost no account an attempt."""

from __future__ import annotations

import asyncio
from pathlib import Path

from local.network.faults import HiddenLimit, HostDown, RateLimited
from local.network.network import Network
from schemas.hosts import HostState
from tests.stream_workers.deployment import Deployment, tasks_of

ADVERTISED, HIDDEN, DOWN = range(3)
ACCOUNTS = 36
WINDOW = 3
FAULTS = [
    RateLimited(ADVERTISED, limit=3, window=WINDOW),
    HiddenLimit(HIDDEN, limit=3, window=WINDOW, retry_after=True),
    HostDown(DOWN),
]


async def test_what_is_known_of_hosts_survives_the_worker(kafka: str, prefix: str, tmp_path: Path) -> None:
    async with Network(seed=6, accounts=ACCOUNTS, hosts=3, records=3, faults=FAULTS) as network:
        deployment = await asyncio.to_thread(Deployment, kafka, prefix, tmp_path, network.plc_url)
        try:
            await kill_and_go_on(network, deployment)
        finally:
            await deployment.close()


async def kill_and_go_on(network: Network, deployment: Deployment) -> None:
    advertised, hidden, down = network.hosts
    tracker, worker = deployment.start("tracker"), deployment.start("worker")
    deployment.plan("job", tasks_of(network, "job", range(ACCOUNTS)))

    async def states() -> dict[str, HostState]:
        messages = await deployment.read(deployment.names.hosts)
        return {message.key: HostState.decode(message.value or b"") for message in messages}

    async def learnt() -> bool:
        known = await states()
        told = hidden in known and known[hidden].hidden
        return bool(told and told.limit == 3 and told.longest_seconds) and known.keys() >= {advertised, down}

    await deployment.until(learnt, "the hidden budget to be learnt and written down")
    await worker.kill()
    before = await states()
    refused = network.ledger.count(status=429)
    assert 0 < refused < 30
    assert network.ledger.count(host=f"pds{ADVERTISED}", status=429) == 0
    assert (before[down].breaker, before[down].requests > 0) == ("open", True)

    worker = deployment.start("worker")

    async def counted_on() -> bool:
        known = await states()
        return known[hidden].requests > before[hidden].requests + 3

    await deployment.until(counted_on, "the second worker to ask beyond a window")
    await network.withdraw(FAULTS[DOWN])
    status = await deployment.final("job")
    assert (status.status, status.totals.completed, status.totals.errors) == ("complete", ACCOUNTS, {})
    assert network.ledger.count(status=429) == refused
    assert {outcome.attempt for outcome in await deployment.outcomes("job")} == {1}
    assert [await worker.terminate(), await tracker.terminate()] == [0, 0]
    after = await states()
    assert {state.breaker for state in after.values()} == {"closed"}
    assert all(state.handed_over for state in after.values())
    assert after[hidden].refusals == before[hidden].refusals
    assert after[down].failing_since is None
