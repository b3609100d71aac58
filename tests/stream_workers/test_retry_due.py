"""Retries keep their time and their count when the worker that holds them dies."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local.network.faults import ServerError
from local.network.network import Network
from schemas.dids import DidTask
from schemas.outcomes import JobEvent, PlanOutcome, Replaced, RepoOutcome
from tests.stream_workers.deployment import Deployment, tasks_of
from tests.stream_workers.test_worker_crash import holds_partitions

DUE_SECONDS = 4.0


async def test_a_retry_is_due_when_it_was_though_its_worker_was_killed(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    """Two accounts wait for their second attempt; one of them is a replay, which says what it replaces."""
    async with Network(
        seed=5, accounts=2, hosts=1, records=5, faults=[ServerError(account=n, first=1) for n in range(2)]
    ) as network:
        deployment = await asyncio.to_thread(Deployment, kafka, prefix, tmp_path, network.plc_url)
        try:
            await wait_and_die(network, deployment)
        finally:
            await deployment.close()


async def wait_and_die(network: Network, deployment: Deployment) -> None:
    names, tracker = deployment.names, deployment.start("tracker")
    replaced = Replaced(letter="0:7", did=network.dids[1], host=network.hosts[0], reason="HostTimeout")
    deployment.set_job("job")
    begun = datetime.now(UTC)
    due = begun + timedelta(seconds=DUE_SECONDS)
    first, replay = tasks_of(network, "job", range(2), attempt=2, not_before=due, first_tried_at=begun)
    replay = replay.model_copy(update={"replay": 1, "replaces": replaced})
    for task in (first, replay):
        deployment.publish(names.dids_retry, task.pds, task.encode())
    announced = JobEvent(job_id="job", event="replayed", count=1, at=begun)
    deployment.publish(names.outcomes, "job", announced.encode())
    for task in (first, replay):
        known = {"job_id": "job", "did": task.did, "host": task.pds, "replaces": task.replaces}
        outcome = RepoOutcome.model_validate(known | {"status": "retrying", "error_type": "fetch_failed"})
        deployment.publish(names.outcomes, "job", outcome.encode())
    deployment.publish(names.outcomes, "job", PlanOutcome(job_id="job", planned=2, finished=True).encode())

    worker = deployment.start("worker")
    await holds_partitions(deployment, worker)
    await worker.kill()
    worker = deployment.start("worker")
    status = await deployment.final("job")

    asked = [request.time for did in network.dids for request in network.ledger.requests(did=did)]
    assert min(asked) >= due.timestamp()
    outcomes = {did: [o for o in await deployment.outcomes("job") if o.did == did] for did in network.dids}
    for did, replaces in zip(network.dids, (None, replaced), strict=True):
        told = [(o.status, o.attempt, o.reason, o.replaces) for o in outcomes[did]]
        assert told == [
            ("retrying", 1, None, replaces),
            ("retrying", 2, "UnexpectedResponse", replaces),
            ("completed", 3, None, replaces),
        ]
    assert (status.totals.completed, status.totals.errors, status.replaying) == (2, {"fetch_failed": 4}, 0)
    retried = [DidTask.decode(m.value or b"") for m in await deployment.read(names.dids_retry)]
    assert {task.first_tried_at for task in retried} == {begun}
    assert [await worker.terminate(), await tracker.terminate()] == [0, 0]
