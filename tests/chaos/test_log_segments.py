"""The log reader, held against what a real broker says of the same transactions."""

from __future__ import annotations

import asyncio
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from local.kafka import EmbeddedKafka
from tests.chaos.log_segments import transactions

TOPIC = "logs.records"


def write(servers: str, messages: int, *, commit: bool, transactional_id: str = "writer") -> None:
    producer = Producer(
        {"bootstrap.servers": servers, "transactional.id": transactional_id, "compression.type": "zstd"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(messages):
        producer.produce(TOPIC, b"x" * 100, str(number), number % 2)
    producer.flush(30)
    (producer.commit_transaction if commit else producer.abort_transaction)(30)


def seen(servers: str, isolation: str) -> int:
    reader = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "test",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    reader.assign([TopicPartition(TOPIC, partition, 0) for partition in (0, 1)])
    ends = messages = 0
    while ends < 2:
        message = reader.poll(30)
        assert message is not None
        error = message.error()
        if error is None:
            messages += 1
        else:
            assert error.code() == KafkaError._PARTITION_EOF
            ends += 1
    reader.close()
    return messages


async def test_aborted_transactions_and_their_messages_are_told_from_the_log(tmp_path: Path) -> None:
    kafka = EmbeddedKafka(tmp_path / "kafka")
    servers = await kafka.start()
    try:
        admin = AdminClient({"bootstrap.servers": servers})
        made = admin.create_topics([NewTopic(TOPIC, 2, 1)])
        await asyncio.to_thread(made[TOPIC].result, 30)

        def all_writes() -> tuple[int, int]:
            write(servers, 40, commit=True)
            write(servers, 30, commit=False)
            write(servers, 7, commit=False)
            write(servers, 10, commit=True)
            write(servers, 5, commit=False, transactional_id="another")
            return seen(servers, "read_uncommitted"), seen(servers, "read_committed")

        uncommitted, committed = await asyncio.to_thread(all_writes)
    finally:
        await kafka.stop()
    found = transactions(tmp_path / "kafka" / "log", "logs.")
    assert (uncommitted, committed) == (92, 50)
    assert sum(found.unseen.values()) == uncommitted - committed
    assert dict(found.unseen) == {TOPIC: 42}
    assert len(found.aborted) == 3
    assert found.committed_markers == 4  # two transactions, in two partitions each
    assert transactions(tmp_path / "kafka" / "log", "other.").aborted == set()
