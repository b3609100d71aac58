"""Workers and trackers are killed, frozen and stopped at the worst moments: every record is there once."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Consumer

from local.network.faults import Slow
from local.network.network import Network
from messaging.crash import EXIT_CODE
from schemas.job_status import JobStatus
from schemas.outcomes import PlanOutcome, RepoOutcome
from tests.stream_workers.deployment import Deployment, Process, Reader, tasks_of

SUPPLY, HOSTS, PORTION = 900, 12, 36
"""So many hosts that every worker has some: which partition a host is in depends on its port. Accounts are
given out in portions, so that there is work left at every blow, however long the machine takes.
"""
GET_REPO = "com.atproto.sync.getRepo"


@dataclass
class Ordeal:
    """What Kafka and the network hold after it."""

    truth: Counter[str]
    """URIs of all records, once each."""
    dids: list[str]
    records: Counter[str]
    markers: Counter[str]
    outcomes: list[RepoOutcome]
    status: JobStatus
    written: int
    """Messages of `records`, those of aborted transactions included."""
    downloads: int
    frozen_code: int
    finally_committed: bool


@pytest.fixture(scope="module")
def ordeal(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Ordeal:
    """Two workers and a tracker; kill, kill, kill, freeze. Once for the tests of this module."""
    return asyncio.run(undergo(kafka, f"t{secrets.token_hex(4)}.", tmp_path_factory.mktemp("ordeal")))


async def undergo(kafka: str, prefix: str, folder: Path) -> Ordeal:
    """See `ordeal`."""
    async with Network(seed=8, accounts=SUPPLY, hosts=HOSTS, records=40) as network:
        deployment = await asyncio.to_thread(Deployment, kafka, prefix, folder, network.plc_url)
        try:
            return await _undergo(network, deployment)
        finally:
            await deployment.close()


async def _undergo(network: Network, deployment: Deployment) -> Ordeal:
    workers = [deployment.start("worker", slot=slot) for slot in (0, 1)]
    tracker = deployment.start("tracker")
    for worker in workers:
        await holds_partitions(deployment, worker)
    deployment.set_job("ordeal", processing={"requests_per_second": 1})
    given = 0
    for slot in (0, 1, 0):
        given = await in_the_midst(network, deployment, given)
        await asyncio.gather(workers[slot].kill(), tracker.kill())
        workers[slot] = deployment.start("worker", slot=slot)
        tracker = deployment.start("tracker")
    await holds_partitions(deployment, workers[0])
    given = await in_the_midst(network, deployment, given)
    workers[1].send(signal.SIGSTOP)
    plan = PlanOutcome(job_id="ordeal", planned=given, finished=True)
    deployment.publish(deployment.names.outcomes, "ordeal", plan.encode())
    status = await deployment.final("ordeal")
    workers[1].send(signal.SIGCONT)
    frozen_code = await workers[1].ended()
    assert [await process.terminate() for process in (workers[0], tracker)] == [0, 0]
    return await collect(network, deployment, status, frozen_code, given)


async def holds_partitions(deployment: Deployment, worker: Process) -> None:
    async def holds() -> bool:
        return re.search(r"workers (holds|keeps) \[\d", worker.log.read_text()) is not None

    await deployment.until(holds, "partitions of a worker")


async def in_the_midst(network: Network, deployment: Deployment, given: int) -> int:
    """Further on than before, by the tracker's books too, and with records that are not committed.

    Gives out accounts from number `given` on as they are needed, and returns the next number.
    """
    before = network.ledger.count(method=GET_REPO)
    counted_before = await counted(deployment)
    topic = deployment.names.records

    async def open_transaction() -> bool:
        nonlocal given
        if len(await deployment.outcomes("ordeal")) > given - PORTION:
            given += deployment.give(tasks_of(network, "ordeal", range(given, given + PORTION)))
        if network.ledger.count(method=GET_REPO) < before + 6 or await counted(deployment) == counted_before:
            return False
        return await deployment.ends(topic, committed=False) != await deployment.ends(topic)

    await deployment.until(open_transaction, "records that are not committed")
    return given


async def counted(deployment: Deployment) -> int:
    status = await deployment.status("ordeal")
    return status.totals.completed if status is not None else 0


async def collect(
    network: Network, deployment: Deployment, status: JobStatus, frozen_code: int, given: int
) -> Ordeal:
    await deployment.quiet()
    records, markers = Counter[str](), Counter[str]()
    for message in await deployment.read(deployment.names.records):
        event = orjson.loads(message.value or b"")
        if event["kind"] == "sync":
            markers[message.key] += 1
        else:
            commit = event["commit"]
            records[f"at://{message.key}/{commit['collection']}/{commit['rkey']}"] += 1
    names = deployment.names
    done = [
        await deployment.committed(names.worker_group, topic) == await deployment.ends(topic)
        for topic in (names.dids, names.dids_retry)
    ]
    return Ordeal(
        truth=Counter(record.uri for truth in islice(network.truth(), given) for record in truth.records),
        dids=list(network.dids[:given]),
        records=records,
        markers=markers,
        outcomes=await deployment.outcomes("ordeal"),
        status=status,
        written=await asyncio.to_thread(written, deployment),
        downloads=network.ledger.count(method=GET_REPO),
        frozen_code=frozen_code,
        finally_committed=all(done),
    )


def written(deployment: Deployment) -> int:
    uncommitted = Consumer(
        {
            "bootstrap.servers": deployment.settings.kafka.bootstrap_servers,
            "group.id": "uncommitted",
            "isolation.level": "read_uncommitted",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    reader = Reader(deployment.settings, deployment.names.records, uncommitted)
    try:
        return len(reader.read())
    finally:
        reader.close()


def test_it_was_an_ordeal(ordeal: Ordeal) -> None:
    """Work was lost on the way: transactions with records in them were aborted, and downloads repeated."""
    assert ordeal.written > ordeal.records.total() + ordeal.markers.total()
    assert ordeal.downloads > len(ordeal.dids)


def test_every_record_is_there_exactly_once(ordeal: Ordeal) -> None:
    assert ordeal.truth.total() == len(ordeal.truth) > 0
    assert ordeal.records == ordeal.truth


def test_every_repository_ends_exactly_once(ordeal: Ordeal) -> None:
    assert ordeal.markers == Counter(ordeal.dids)


def test_every_account_has_exactly_one_outcome(ordeal: Ordeal) -> None:
    assert Counter(o.did for o in ordeal.outcomes) == Counter(ordeal.dids)
    assert {(o.status, o.attempt) for o in ordeal.outcomes} == {("completed", 1)}


def test_the_trackers_counts_are_exact(ordeal: Ordeal) -> None:
    status, totals = ordeal.status, ordeal.status.totals
    assert (status.status, status.total, status.outstanding) == ("complete", len(ordeal.dids), 0)
    assert (totals.completed, totals.terminal, totals.retrying) == (status.total, status.total, 0)
    assert totals.records == ordeal.truth.total()
    assert totals.by_type == Counter(uri.split("/")[3] for uri in ordeal.truth)
    assert totals.bytes == sum(o.bytes for o in ordeal.outcomes)
    assert totals.errors == {}


def test_a_worker_that_was_frozen_past_its_session_ends_itself(ordeal: Ordeal) -> None:
    assert ordeal.frozen_code == EXIT_CODE


def test_nothing_is_left_to_do(ordeal: Ordeal) -> None:
    assert ordeal.finally_committed


async def test_a_stopped_worker_leaves_nothing_to_be_done_again(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    under_way = [Slow(host=0, seconds=2.0)]  # when the others have got far enough
    async with Network(seed=9, accounts=36, hosts=6, records=20, faults=under_way) as network:
        deployment = await asyncio.to_thread(Deployment, kafka, prefix, tmp_path, network.plc_url)
        try:
            tracker, worker = deployment.start("tracker"), deployment.start("worker")
            limits = {"requests_per_second": 1, "max_concurrent_per_pds": 2}
            deployment.plan("job", tasks_of(network, "job", range(36)), processing=limits)

            async def begun() -> bool:
                return network.ledger.count(method=GET_REPO) >= 8

            await deployment.until(begun, "the first downloads")
            assert await worker.terminate() == 0
            await deployment.quiet()
            fetched = {did for did in network.dids if network.ledger.count(did=did)}
            assert 8 <= len(fetched) < 36
            assert {outcome.did for outcome in await deployment.outcomes("job")} == fetched
            worker = deployment.start("worker")
            status = await deployment.final("job")
            assert (status.status, status.totals.completed) == ("complete", 36)
            assert [network.ledger.count(did=did) for did in network.dids] == [1] * 36
            assert [await worker.terminate(), await tracker.terminate()] == [0, 0]
            await deployment.quiet()
            for topic in (deployment.names.dids, deployment.names.dids_retry):
                committed = await deployment.committed(deployment.names.worker_group, topic)
                assert committed == await deployment.ends(topic)
        finally:
            await deployment.close()
