"""Jobs published by a plain Kafka client, through none of skyfill's code: good, malformed, contradictory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition

from local.network.faults import Slow
from local.network.network import Network
from messaging import clients
from messaging.names import Names
from messaging.topics import end_offsets
from schemas.deadletter import DeadLetter
from schemas.settings import Settings
from tests.integration.rig import compared, running, settings_for

GET_REPO = "com.atproto.sync.getRepo"


def document(dids: list[str], parquet: Path, table: str, **processing: float) -> dict[str, object]:
    return {
        "source": {"type": "inline", "dids": dids},
        "processing": {"requests_per_second": 50} | processing,
        "storage": [{"type": "parquet", "path": str(parquet)}, {"type": "dynamodb", "table_name": table}],
    }


def dead_letters(settings: Settings) -> list[DeadLetter]:
    """All that lies in the topic."""
    topic = Names(settings.kafka.topic_prefix).deadletter
    end = end_offsets(clients.admin(settings.kafka), topic, [0])[0]
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "group.id": "plain",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    letters: list[DeadLetter] = []
    while end and (message := consumer.poll(30)) is not None and not message.error():
        letters.append(DeadLetter.decode(message.value() or b""))
    consumer.close()
    return letters


@pytest.mark.timeout(240)
async def test_good_malformed_and_contradictory_commands(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = f"{prefix}plain"
    slow = [Slow(host=host, seconds=0.3) for host in range(2)]
    async with Network(seed=3, accounts=40, hosts=2, records=40, faults=slow) as network:
        settings = settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data")
        async with running(settings, monkeypatch=monkeypatch) as rig:
            # Not JSON, not a document, an unknown key: each is an error of its own, and nobody waits for it.
            rig.publish("not-json", b"backfill please")
            rig.publish("no-document", orjson.dumps({"action": "start"}))
            typo = document(list(network.dids), tmp_path / "typo", table)
            rig.publish("typo", orjson.dumps({"backfill": typo | {"record_type": ["post"]}}))
            good = document(list(network.dids), tmp_path / "parquet", table)
            rig.publish("good", orjson.dumps({"backfill": good}))
            for job_id in ("not-json", "no-document", "typo"):
                refused = await rig.status(job_id, lambda job: job.final)
                assert refused.status == "error"
                assert refused.detail
            assert "record_types" in (refused.detail or ""), "the nearest known key is named"

            # Commands that make no sense for a running job do not touch it.
            await rig.status("good", lambda job: job.totals.completed > 0)
            rig.publish("good", b"{")
            rig.publish("good", orjson.dumps({"action": "explode"}))
            rig.publish("good", orjson.dumps({"action": "resume"}))
            rig.publish("good", orjson.dumps({"backfill": good}))
            rig.publish("good", orjson.dumps({"backfill": good | {"record_types": ["post"]}}))
            job = await rig.status("good", lambda job: job.final)
            assert job.status == "complete"
            assert job.totals.completed == len(network.dids)
            await rig.drained()

            # Without a key the job is named after its offset; a final job can't be cancelled any more.
            rig.publish(
                None, orjson.dumps({"backfill": document([network.dids[0]], tmp_path / "parquet2", table)})
            )
            rig.publish("good", orjson.dumps({"action": "cancel"}))
            named = await rig.status("job-9", lambda job: job.final)
            assert named.status == "complete"
            after = rig.board.of("good")
            assert after is not None
            assert after.history[-1].detail == "the job has ended; can't cancel it"
            same = {"updated_at": job.updated_at, "history": job.history}
            assert after.model_copy(update=same) == job
            await rig.drained()
        for store in await compared(network, tmp_path / "parquet", settings.dynamodb, table):
            assert store.exact, store
        letters = [letter for letter in dead_letters(settings) if letter.stage == "plan"]
        assert [letter.job_id for letter in letters if letter.job_id in ("not-json", "no-document", "typo")]
        contradictory = [letter for letter in letters if letter.job_id == "good"]
        assert len(contradictory) == 4, "all but the equal start and the idle resume are dead letters"
        assert all(letter.payload and letter.detail for letter in letters)


@pytest.mark.timeout(240)
async def test_pause_resume_and_cancel(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = [Slow(host=host, seconds=0.2) for host in range(2)]
    async with Network(seed=4, accounts=60, hosts=2, records=20, faults=slow) as network:
        settings = settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data")
        async with running(settings, sinks=["parquet"], monkeypatch=monkeypatch) as rig:
            wanted = document(list(network.dids), tmp_path / "parquet", "unused", max_concurrent_per_pds=2)
            wanted["storage"] = {"type": "parquet", "path": str(tmp_path / "parquet")}
            rig.publish("held", orjson.dumps({"backfill": wanted}))
            await rig.status("held", lambda job: job.totals.completed > 3)
            rig.publish("held", orjson.dumps({"action": "pause"}))
            await rig.status("held", lambda job: job.status == "paused")
            await asyncio.sleep(2)  # what was under way ends
            asked = network.ledger.count(method=GET_REPO)
            await asyncio.sleep(2)
            assert network.ledger.count(method=GET_REPO) == asked, "a paused job asks nobody"
            rig.publish("held", orjson.dumps({"action": "resume"}))
            held = rig.board.of("held")
            assert held is not None
            before = held.totals.completed
            await rig.status("held", lambda job: job.status == "processing" and job.totals.completed > before)
            rig.publish("held", orjson.dumps({"action": "cancel"}))
            ended = await rig.status("held", lambda job: job.final)
            assert ended.status == "cancelled"
            assert ended.totals.cancelled > 0
            assert ended.totals.completed + ended.totals.cancelled == len(network.dids)
