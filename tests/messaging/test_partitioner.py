"""Our choice of a partition is librdkafka's, so that kcat and any other client send a key where we do."""

from __future__ import annotations

from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from messaging.partitioner import partition_for
from tests.messaging.broker import make_topic, read_all

KEYS = [
    "https://pds.example",
    "https://pds.example:8443",
    "https://pds.example#7",
    "did:plc:ewvi7nxzyoun6zhxrhs64oiz",
    "did:web:xn--bcher-kva.example",
    "job-0",
    "a",
    "bücher 📚",
    *(f"did:plc:{number:024}" for number in range(300)),
]


@given(st.text(min_size=1), st.integers(1, 1024))
def test_the_partition_exists(key: str, partitions: int) -> None:
    assert 0 <= partition_for(key, partitions) < partitions


def test_it_is_where_librdkafka_puts_the_key(kafka: str, prefix: str) -> None:
    for partitions in (1, 7, 16):
        topic = f"{prefix}keys{partitions}"
        make_topic(kafka, topic, partitions)
        producer = Producer({"bootstrap.servers": kafka, "partitioner": "consistent"})
        for key in KEYS:
            producer.produce(topic, b"", key)
        assert producer.flush(30) == 0
        landed = {message.key: message.partition for message in read_all(kafka, topic, partitions)}
        assert landed == {key: partition_for(key, partitions) for key in KEYS}
        assert len(set(landed.values())) == partitions
