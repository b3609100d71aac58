"""A worker hears that a job was cancelled while its hosts drip, fail and are down: everything of it ends.

The hosts stay as they are, so that nothing can end by itself; the second time the worker is killed as well.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from local.network.faults import HostDown, ServerError, Stalled
from local.network.network import Network
from schemas.dids import DidTask
from schemas.outcomes import RepoOutcome
from tests.stream_workers.deployment import Deployment, tasks_of

DRIPS, FAILS, DOWN, SLOW = range(4)
PER_HOST = 12
TERMINAL = ("completed", "cancelled")


@pytest.mark.timeout(200)
async def test_a_cancelled_job_is_done_with_whatever_it_waits_for(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    async with Network(seed=5, accounts=8 * PER_HOST, hosts=4, records=3) as network:
        deployment = await asyncio.to_thread(
            Deployment, kafka, prefix, tmp_path, network.plc_url, WORKER__SILENCE_SECONDS="600"
        )
        try:
            worker = deployment.start("worker")
            await fetched(deployment, network)
            await network.inject(Stalled(host=DRIPS, at="trickle"))
            await network.inject(ServerError(host=FAILS, status=500))
            await network.inject(HostDown(DOWN))

            await underway(deployment, network, "first", range(4, 4 + 4 * PER_HOST))
            await cancelled(deployment, network, "first", range(4, 4 + 4 * PER_HOST))

            await underway(deployment, network, "second", range(52, 52 + 4 * PER_HOST - 8))
            deployment.set_job("second", "cancelled", processing=PROCESSING)
            await worker.kill()
            worker = deployment.start("worker")
            await cancelled(deployment, network, "second", range(52, 52 + 4 * PER_HOST - 8))
            assert await worker.terminate() == 0
        finally:
            await deployment.close()


PROCESSING = {"requests_per_second": 2, "timeout_seconds": 600, "max_retries": 9}


async def fetched(deployment: Deployment, network: Network) -> None:
    """One account of each host, so that no host is a suspect."""
    deployment.plan("before", tasks_of(network, "before", range(4)))

    async def done() -> bool:
        return len(await deployment.outcomes("before")) == 4

    await deployment.until(done, "the first accounts")


async def underway(deployment: Deployment, network: Network, job: str, numbers: range) -> None:
    """Downloads drip, others wait for their next attempt, for a host, and for a turn."""
    deployment.plan(job, tasks_of(network, job, numbers), processing=PROCESSING)

    async def amidst() -> bool:
        statuses = Counter(outcome.status for outcome in await deployment.outcomes(job))
        dripping = network.ledger.in_flight(f"pds{DRIPS}")
        return dripping >= 4 and statuses["retrying"] >= 2 and statuses["completed"] >= 2

    await deployment.until(amidst, "downloads under way")


async def cancelled(deployment: Deployment, network: Network, job: str, numbers: range) -> None:
    """Every account ends once, no connection stays open, and no host is asked any more."""
    deployment.set_job(job, "cancelled", processing=PROCESSING)

    async def ended() -> bool:
        return len(terminal(await deployment.outcomes(job))) >= len(numbers)

    await deployment.until(ended, f"the end of {job}")
    asked = network.ledger.count()
    await deployment.quiet()
    await asyncio.sleep(0.5)  # long enough for a turn at two requests a second
    assert network.ledger.count() == asked
    assert [network.ledger.in_flight(f"pds{host}") for host in range(4)] == [0] * 4
    found = terminal(await deployment.outcomes(job))
    assert Counter(outcome.did for outcome in found) == Counter(network.dids[n] for n in numbers)
    assert {outcome.status for outcome in found} == set(TERMINAL)
    for outcome in found:
        if outcome.status == "completed":
            assert outcome.host == network.hosts[SLOW]
    tasks = [DidTask.decode(m.value or b"") for m in await deployment.read(deployment.names.dids_retry)]
    assert {task.pds for task in tasks if task.job_id == job} >= {network.hosts[FAILS]}


def terminal(outcomes: list[RepoOutcome]) -> list[RepoOutcome]:
    return [outcome for outcome in outcomes if outcome.status in TERMINAL]
