"""What these tests ask of a broker besides the code under test: topics, writers, a plain reader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from messaging.topics import end_offsets
from schemas.settings import KafkaSettings, Partitions

PARTITIONS = 4
PATIENCE = 60.0
"""Seconds after which something that has to happen counts as not happening."""


class Read(NamedTuple):
    """A message as a reader of committed messages sees it."""

    partition: int
    offset: int
    key: str
    value: str | None


def settings(bootstrap: str, prefix: str, **changes: Any) -> KafkaSettings:
    """A deployment with short sessions."""
    counts = Partitions(dids=PARTITIONS, records=2, outcomes=1, deadletter=1, repos=1)
    given = {
        "bootstrap_servers": bootstrap,
        "topic_prefix": prefix,
        "partitions": counts,
        "session_timeout_seconds": 1.5,
        "transaction_timeout_seconds": 5,
    }
    return KafkaSettings.model_validate(given | changes)


def admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap})


def make_topic(
    bootstrap: str, name: str, partitions: int, config: Mapping[str, str] | None = None
) -> AdminClient:
    client = admin(bootstrap)
    client.create_topics([NewTopic(name, partitions, config=dict(config or {}))])[name].result(30)
    eventually(lambda: name in client.list_topics(timeout=10).topics)
    return client


def delete_topic(client: AdminClient, name: str) -> None:
    client.delete_topics([name])[name].result(30)
    eventually(lambda: name not in client.list_topics(timeout=10).topics)


def produce(bootstrap: str, topic: str, partition: int, messages: Iterable[tuple[str, str | None]]) -> None:
    """Writes without a transaction."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for key, value in messages:
        producer.produce(topic, value, key, partition)
    assert producer.flush(30) == 0


@contextmanager
def transactional(bootstrap: str, transactional_id: str, **config: Any) -> Iterator[Producer]:
    """A producer whose transactions the test opens and ends itself."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": transactional_id, "linger.ms": 5, **config}
    )
    producer.init_transactions(30)
    yield producer
    producer.purge()


def read_all(bootstrap: str, topic: str, partitions: int) -> list[Read]:
    """All that is committed now, in each partition's order."""
    ends = end_offsets(admin(bootstrap), topic, range(partitions))
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    found, behind = [], {partition for partition, end in ends.items() if end > 0}
    deadline = time.monotonic() + PATIENCE
    while behind:
        assert time.monotonic() < deadline, f"{topic} {behind} can't be read to the end"
        for message in consumer.consume(1000, 0.2):
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            error = message.error()
            if error is None:
                value = message.value()
                text = None if value is None else value.decode()
                found.append(Read(partition, offset, (message.key() or b"").decode(), text))
                offset += 1
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
            if offset >= ends[partition]:
                behind.discard(partition)
    consumer.close()
    return sorted(found)


def eventually(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Waits until the condition holds, and fails when it never does."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {patience:.0f} s"
        time.sleep(0.05)
