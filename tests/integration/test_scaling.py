"""Workers come and go in the middle of a backfill: partitions follow them, and no host meets two at once.

Answers are held back while the group changes, so that every move finds downloads under way, however fast or
slow the machine is.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest

from local.network.ledger import Request
from local.network.network import Network
from messaging import clients
from messaging.crash import EXIT_CODE
from messaging.names import Names
from messaging.topics import end_offsets
from schemas.job_status import JobStatus
from schemas.settings import Settings
from tests.integration.crew import AT_ONCE, MOST_HOSTS, Asked, Crew, meetings, until
from tests.integration.rig import Rig, running, settings_for
from tests.stream_workers.deployment import Reader

HOSTS = 64
"""Of the network. A test asks one for each partition that has one, as chance gives the ports."""
PER_HOST = 3 * AT_ONCE
"""More accounts than are asked for at once: something is left for whoever comes next."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("partitions", "workers"), [(1, 1), (1, 3), (4, 2), (16, 4), (64, 8)])
async def test_partitions_follow_the_workers_and_no_host_meets_two_at_once(
    partitions: int,
    workers: int,
    kafka: str,
    dynamodb: str,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        Network(seed=8, accounts=HOSTS * PER_HOST, hosts=HOSTS, records=3) as network,
        AsyncExitStack() as stack,
    ):
        settings = with_partitions(
            settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data"), partitions
        )
        asked = Asked(network, partitions)
        rig = await stack.enter_async_context(running(settings, workers=0, sinks=[], monkeypatch=monkeypatch))
        crew = Crew(settings, stack)
        first = crew.add(0)
        await crew.balanced()

        publish(rig, "meets", asked.firsts)
        await rig.status("meets", lambda job: job.final)

        # More workers come while every host is being asked.
        await asked.hold()
        publish(rig, "grows", asked.dids)
        before = await asked.waiting()
        for slot in range(1, workers):
            crew.add(slot)
        shares = await crew.balanced()
        moved = [host for host, at in asked.hosts.items() if at not in shares[first]]
        assert moved or partitions == 1, "new workers take partitions over, if there are several"
        await asked.again(moved, before)
        await asked.release()
        grown = await rig.status("grows", lambda job: job.final)
        for host in moved:
            assert asked.by(host, since=0) - {first}, (
                f"{host} was taken from {first}, and nobody else asked it"
            )

        # All but one go, again while every host is being asked.
        last = list(crew.members)[-1]
        await asked.hold()
        publish(rig, "shrinks", asked.dids)
        await asked.waiting()
        then = time.time()
        gone = await crew.dismiss([name for name in crew.members if name != last])
        await asked.release()
        assert {await process.wait() for process in gone} <= {0, EXIT_CODE}, "gone, or its place lost before"
        assert await crew.balanced() == {last: set(range(partitions))}
        shrunk = await rig.status("shrinks", lambda job: job.final)
        for host in asked.hosts:
            assert last in asked.by(host, since=then), f"{host} was left to {last}, which never asked it"

        assert meetings(network.ledger.requests()) == []
        truth = {account.did: account for account in network.truth() if account.did in asked.dids}
        records = sum(len(account.records) for account in truth.values())
        for job in (grown, shrunk):
            assert_whole(job, len(asked.dids), records)
        assert await published(settings) == Counter(
            (job, record.uri)
            for job, dids in (("meets", asked.firsts), ("grows", asked.dids), ("shrinks", asked.dids))
            for did in dids
            for record in truth[did].records
        )


def test_a_meeting_of_two_workers_would_be_seen() -> None:
    def request(worker: str, time: float, seconds: float, host: str = "pds0") -> Request:
        agent = f"skyfill/1 (+{worker})"
        return Request(time, host, "getRepo", None, 200, 1, seconds, "complete", agent, 1, "/")

    long, inside = request("worker-0", 1.0, 5.0), request("worker-1", 3.0, 0.5)
    assert meetings([inside, request("worker-0", 2.0, 0.1), long]) == [(long, inside)]
    assert meetings([long, request("worker-1", 6.1, 1.0), request("worker-1", 2.0, 1.0, "pds1")]) == []


def with_partitions(settings: Settings, partitions: int) -> Settings:
    """Sessions are longer than in other tests: nobody is killed here, and nobody shall lose its place."""
    counts = settings.kafka.partitions.model_copy(update={"dids": partitions})
    changes = {"partitions": counts, "session_timeout_seconds": 12}
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update=changes)})


def publish(rig: Rig, job: str, dids: list[str]) -> None:
    processing = {
        "requests_per_second": 50,
        "max_concurrent_per_pds": AT_ONCE,
        "max_concurrent_pds": MOST_HOSTS,
    }
    document = {
        "source": {"type": "inline", "dids": dids},
        "processing": processing,
        "storage": {"type": "parquet", "path": "/nowhere"},
    }
    rig.publish(job, orjson.dumps({"backfill": document}))


def assert_whole(job: JobStatus, accounts: int, records: int) -> None:
    assert job.status == "complete"
    assert (job.totals.completed, job.totals.records) == (accounts, records)


async def published(settings: Settings) -> Counter[tuple[str, str]]:
    """Job and URI of every record that was committed."""
    topic, admin = Names(settings.kafka.topic_prefix).records, clients.admin(settings.kafka)
    partitions = range(settings.kafka.partitions.records)

    async def closed() -> bool:
        """A job may be final before the last markers have come to `records`."""
        committed, written = await asyncio.gather(
            asyncio.to_thread(end_offsets, admin, topic, partitions),
            asyncio.to_thread(end_offsets, admin, topic, partitions, committed=False),
        )
        return committed == written

    await until(closed, lambda: "a transaction is still open")
    reader = Reader(settings, topic)
    events = [orjson.loads(message.value or b"") for message in await asyncio.to_thread(reader.read)]
    reader.close()
    return Counter(
        (event["job"], f"at://{event['did']}/{event['commit']['collection']}/{event['commit']['rkey']}")
        for event in events
        if event["kind"] == "commit"
    )
