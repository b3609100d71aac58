"""Places by time, and a group that is set back to them: only while it is idle, and in bounded measure."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, Producer

from messaging.rewind import places_since, rewind
from messaging.topics import committed_offsets
from tests.messaging.broker import admin, eventually, make_topic

HOUR = 3600.0


def write(kafka: str, topic: str, partition: int, ages: list[float]) -> None:
    """Messages that were produced so many seconds ago."""
    producer = Producer({"bootstrap.servers": kafka})
    for age in ages:
        producer.produce(topic, b"x", partition=partition, timestamp=int((time.time() - age) * 1000))
    assert producer.flush(30) == 0


def test_places_are_where_the_time_begins_but_not_too_far_back(kafka: str, prefix: str) -> None:
    client = make_topic(kafka, topic := f"{prefix}outcomes", 4)
    write(kafka, topic, 0, [3 * HOUR, 2 * HOUR, 0.5 * HOUR, 0])
    write(kafka, topic, 1, [3 * HOUR, 2 * HOUR])
    write(kafka, topic, 2, [100.0] * 50)
    assert places_since(client, topic, HOUR, 1000) == {0: 2, 1: 2, 2: 0, 3: 0}
    assert places_since(client, topic, HOUR, 10) == {0: 2, 1: 2, 2: 40, 3: 0}
    assert places_since(client, f"{prefix}nothing", HOUR, 10) == {}


def test_an_idle_group_is_set_back_and_a_busy_one_is_left_alone(kafka: str, prefix: str) -> None:
    client = make_topic(kafka, topic := f"{prefix}outcomes", 1)
    write(kafka, topic, 0, [2 * HOUR, 0.5 * HOUR, 0])
    group = f"{prefix}rates"
    assert rewind(client, group, topic, seconds=HOUR, most=1000, patience=30) == {0: 1}
    assert committed_offsets(client, group, topic, [0]) == {0: 1}

    consumer = Consumer({"bootstrap.servers": kafka, "group.id": group, "enable.auto.commit": False})
    consumer.subscribe([topic])
    read = consumer.consume(2, 60)
    assert [message.offset() for message in read] == [1, 2]
    consumer.commit(read[-1], asynchronous=False)
    assert rewind(client, group, topic, seconds=HOUR, most=1000, patience=0) is None
    assert committed_offsets(client, group, topic, [0]) == {0: 3}
    consumer.close()
    eventually(lambda: rewind(admin(kafka), group, topic, seconds=HOUR, most=1, patience=5) == {0: 2})
