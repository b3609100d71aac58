"""A repository too large to hold is published from its file, in a transaction that nobody else is in; and
a restart with the same slot ends what its predecessor left open.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from local.network.network import Network
from tests.stream_workers.deployment import Deployment, tasks_of

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
