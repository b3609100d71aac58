"""A repository too large to hold is published from its file, in a transaction that nobody else is in; and
a restart with the same slot ends what its predecessor left open.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from local.network.network import Network
from tests.stream_workers.deployment import Deployment, tasks_of
from tests.stream_workers.halting import GO, HALTED

LARGE, SMALL, LATER = 0, 1, 2


async def test_a_large_repository_has_a_transaction_of_its_own(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    """Others' commits come so seldom here that only its own can make it visible before theirs."""
    async with Network(seed=6, accounts=3, hosts=1, records=5, spread=0, sizes={LARGE: 2000}) as network:
        deployment = await asyncio.to_thread(
            Deployment,
            kafka,
            prefix,
            tmp_path,
            network.plc_url,
            WORKER__SPOOL_BYTES="65536",
            KAFKA__COMMIT_INTERVAL_SECONDS="60",
            KAFKA__TRANSACTION_TIMEOUT_SECONDS="900",
        )
        try:
            await publish_alone(network, deployment)
        finally:
            await deployment.close()


async def publish_alone(network: Network, deployment: Deployment) -> None:
    worker = deployment.start("worker")
    tasks = tasks_of(network, "job", [SMALL, LARGE, LATER])
    deployment.plan("job", tasks, processing={"max_concurrent_per_pds": 1})

    async def done() -> set[str]:
        return {outcome.did for outcome in await deployment.outcomes("job")}

    async def large_done() -> set[str] | None:
        found = await done()
        return found if network.dids[LARGE] in found else None

    async def all_sent() -> bool:
        return all(network.ledger.count(did=task.did, ending="complete") for task in tasks)

    await deployment.until(all_sent, "the last download")
    visible = await deployment.until(large_done, "the outcome of the large one")
    assert visible == {network.dids[SMALL], network.dids[LARGE]}  # what was before it, and it; nothing else
    await worker.kill()
    worker = deployment.start("worker")  # the same slot: it ends what its predecessor left open, at once

    async def sent_again() -> bool:
        return network.ledger.count(did=network.dids[LATER], ending="complete") == 2

    await deployment.until(sent_again, "the last download, again")
    assert await worker.terminate() == 0
    await deployment.quiet()
    assert await done() == set(network.dids)
    wanted = [record for truth in network.truth() for record in truth.records]
    assert {network.ledger.count(did=network.dids[number]) for number in (SMALL, LARGE)} == {1}
    assert len(await deployment.read(deployment.names.records)) == len(wanted) + len(tasks)


async def test_it_holds_up_nobody_and_killed_in_its_midst_it_is_published_once(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    async with Network(seed=6, accounts=8, hosts=4, records=5, spread=0, sizes={LARGE: 2000}) as network:
        deployment = await asyncio.to_thread(
            Deployment, kafka, prefix, tmp_path, network.plc_url, WORKER__SPOOL_BYTES="65536"
        )
        try:
            worker = deployment.start("halting")
            deployment.plan("job", tasks_of(network, "job", range(8)))

            async def others_done() -> bool:
                outcomes = await deployment.outcomes("job")
                return {outcome.did for outcome in outcomes} == set(network.dids) - {network.dids[LARGE]}

            await deployment.until(appears(tmp_path / HALTED), "the large one to be under way")
            await deployment.until(others_done, "all others to be done beside it")
            await worker.kill()
            worker = deployment.start("worker")
            await all_done(network, deployment)
            assert await worker.terminate() == 0
            await stored_once(network, deployment)
        finally:
            await deployment.close()


async def test_where_its_partition_goes_it_is_dropped_and_published_by_the_next_owner(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    async with Network(seed=7, accounts=3, hosts=3, records=400, spread=0) as network:
        deployment = await asyncio.to_thread(
            Deployment, kafka, prefix, tmp_path, network.plc_url, WORKER__SPOOL_BYTES="65536"
        )
        try:
            worker = deployment.start("halting")
            deployment.plan("job", tasks_of(network, "job", range(3)))
            await deployment.until(appears(tmp_path / HALTED), "the first to be under way")
            worker.send(signal.SIGTERM)

            async def left() -> bool:
                return not await asyncio.to_thread(members, deployment)

            await deployment.until(left, "it to leave the group")
            (tmp_path / GO).touch()
            assert await worker.ended() == 0
            assert not await deployment.outcomes("job")
            deployment.start("worker")
            await all_done(network, deployment)
            await stored_once(network, deployment)
        finally:
            await deployment.close()


def members(deployment: Deployment) -> int:
    group = deployment.names.worker_group
    described = deployment.admin.describe_consumer_groups([group], request_timeout=10)[group].result(10)
    return len(described.members)


def appears(file: Path) -> Callable[[], Awaitable[bool]]:
    async def there() -> bool:
        return await asyncio.to_thread(file.exists)

    return there


async def all_done(network: Network, deployment: Deployment) -> None:
    async def done() -> bool:
        return len(await deployment.outcomes("job")) >= len(network.dids)

    await deployment.until(done, "all to be done")
    await deployment.quiet()


async def stored_once(network: Network, deployment: Deployment) -> None:
    """Every account has one outcome, and every record one message."""
    outcomes = await deployment.outcomes("job")
    assert sorted(outcome.did for outcome in outcomes) == sorted(network.dids)
    wanted = [record for truth in network.truth() for record in truth.records]
    assert sum(sum(outcome.records.values()) for outcome in outcomes) == len(wanted)
    assert len(await deployment.read(deployment.names.records)) == len(wanted) + len(network.dids)
