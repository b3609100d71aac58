"""Counts what really lies in a topic: a scenario that lost or doubled a record has no speed to tell of."""

from __future__ import annotations

import time

import orjson
from confluent_kafka import TopicPartition

from benchmarks.stage import PATIENCE, Scene
from messaging import clients
from messaging.polling import poll
from messaging.topics import end_offsets
from schemas.errors import LocalServerError

_BATCH = 10_000


def count_messages(scene: Scene, topic: str) -> tuple[int, int]:
    """Committed messages of a topic: those that are no sync markers, and sync markers."""
    ends = end_offsets(scene.admin, topic, range(scene.partitions[topic]))
    positions = dict.fromkeys(ends, 0)
    consumer = clients.reader(scene.kafka)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in positions])
    records = markers = 0
    deadline = time.monotonic() + PATIENCE
    try:
        while any(positions[partition] < end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                raise LocalServerError(f"{topic} can't be read to its end; the broker's log says why")
            polled = poll(consumer, _BATCH, 0.1)
            for message in polled.messages:
                positions[message.partition] = message.offset + 1
                is_marker = orjson.loads(message.value or b"{}").get("kind") == "sync"
                markers += is_marker
                records += not is_marker
            for (_, partition), position in polled.ends.items():
                positions[partition] = max(position, positions[partition])
    finally:
        consumer.close()
    return records, markers


def require_equal(what: str, found: object, wanted: object) -> None:
    """Raises LocalServerError if the work was not done as a whole."""
    if found != wanted:
        raise LocalServerError(f"{what}: {found}, not {wanted}; the figures mean nothing, so there are none")
