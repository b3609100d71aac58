"""A retry partition full of tasks that may not run yet: what is due behind them is reached all the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from local.network.faults import HostDown, ServerError
from local.network.network import Network
from schemas.dids import DidTask
from tests.stream_workers.deployment import Deployment, tasks_of

WINDOW = 10
PARKED = range(1, 16)
"""More tasks of a paused job than the window takes."""


async def test_parked_tasks_make_room_and_none_is_lost(kafka: str, prefix: str, tmp_path: Path) -> None:
    faults = [ServerError(account=0, first=1)]
    async with Network(seed=3, accounts=16, hosts=1, records=5, faults=faults) as network:
        deployment = await asyncio.to_thread(
            Deployment, kafka, prefix, tmp_path, network.plc_url, WORKER__WINDOW_TASKS=str(WINDOW)
        )
        try:
            await park_and_pass(network, deployment)
        finally:
            await deployment.close()


async def park_and_pass(network: Network, deployment: Deployment) -> None:
    """One host, so one partition: the failed account's second attempt lies behind all those parked."""
    worker, tracker = deployment.start("worker"), deployment.start("tracker")
    deployment.plan("parked", tasks_of(network, "parked", PARKED), state="paused")

    async def parked() -> bool:
        return len(await deployment.read(deployment.names.dids_retry)) >= len(PARKED)

    await deployment.until(parked, "the paused job's tasks in the retry topic")
    deployment.plan("behind", tasks_of(network, "behind", [0]))
    status = await deployment.final("behind")
    assert (status.status, status.totals.completed, status.totals.errors) == (
        "complete",
        1,
        {"fetch_failed": 1},
    )
    assert await deployment.outcomes("parked") == []
    deployment.set_job("parked")
    status = await deployment.final("parked")
    assert (status.status, status.totals.completed) == ("complete", len(PARKED))
    await deployment.quiet()
    outcomes = Counter((o.did, o.status, o.attempt) for o in await deployment.outcomes("parked"))
    assert outcomes == Counter((network.dids[number], "completed", 1) for number in PARKED)
    assert [await worker.terminate(), await tracker.terminate()] == [0, 0]


async def test_a_host_that_is_down_keeps_none_behind_it_from_being_read(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    """One partition, its window full of tasks for a host that is down: those of another host lie behind."""
    async with Network(seed=3, accounts=30, hosts=2, records=5, faults=[HostDown(0)]) as network:
        deployment = await asyncio.to_thread(
            Deployment,
            kafka,
            prefix,
            tmp_path,
            network.plc_url,
            WORKER__WINDOW_TASKS=str(WINDOW),
            KAFKA__PARTITIONS__DIDS="1",
        )
        try:
            await read_on(network, deployment)
        finally:
            await deployment.close()


async def read_on(network: Network, deployment: Deployment) -> None:
    down, fine = range(0, 30, 2), range(1, 30, 2)
    worker, tracker = deployment.start("worker"), deployment.start("tracker")
    deployment.plan("down", tasks_of(network, "down", down))

    async def met() -> bool:
        return bool(await deployment.read(deployment.names.hosts))

    await deployment.until(met, "the host that is down to be met, and its tasks to fill the window")
    deployment.plan("behind", tasks_of(network, "behind", fine))
    status = await deployment.final("behind")
    assert (status.status, status.totals.completed, status.totals.errors) == ("complete", len(fine), {})
    parked = [DidTask.decode(m.value or b"") for m in await deployment.read(deployment.names.dids_retry)]
    assert parked
    assert {(task.job_id, task.attempt, task.not_before is None) for task in parked} == {("down", 1, False)}
    await network.withdraw(HostDown(0))
    status = await deployment.final("down")
    assert (status.status, status.totals.completed, status.totals.errors) == ("complete", len(down), {})
    await deployment.quiet()
    outcomes = Counter((o.did, o.status, o.attempt) for o in await deployment.outcomes("down"))
    assert outcomes == Counter((network.dids[number], "completed", 1) for number in down)
    assert [await worker.terminate(), await tracker.terminate()] == [0, 0]
