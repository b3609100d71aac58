"""One pass over a partition, from a point in time to what is committed now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

from confluent_kafka import Consumer, TopicPartition

from messaging import clients
from messaging.polling import Delivered, poll
from messaging.topics import end_offsets
from schemas.errors import DeploymentError
from schemas.settings import KafkaSettings

_BATCH = 1000
_POLL_SECONDS = 0.1
_TIMES_SECONDS = 30.0


def scan(
    kafka: KafkaSettings,
    topic: str,
    partition: int,
    since: datetime | None,
    *,
    until: int | None = None,
    patience: float = 60.0,
) -> Iterator[Delivered]:
    """All messages committed by now, from the first one produced at or after `since` on; None: all kept.

    `until` ends it before an offset. Raises DeploymentError when nothing comes for `patience` seconds
    although the end is not reached.
    """
    end = end_offsets(clients.admin(kafka), topic, [partition])[partition]
    end = end if until is None else min(end, until)
    consumer = clients.reader(kafka)
    try:
        position = 0 if since is None else _first_since(consumer, topic, partition, since, end)
        consumer.assign([TopicPartition(topic, partition, position)])
        heard_at = time.monotonic()
        while position < end:
            polled = poll(consumer, _BATCH, _POLL_SECONDS)
            for message in polled.messages:
                if message.offset >= end:
                    return
                yield message
                position = message.offset + 1
            position = max(position, polled.ends.get((topic, partition), position))
            if any(polled):
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > patience:
                raise DeploymentError(f"{topic} [{partition}] could not be read beyond offset {position}")
    finally:
        consumer.close()


def _first_since(consumer: Consumer, topic: str, partition: int, since: datetime, end: int) -> int:
    at = TopicPartition(topic, partition, int(since.timestamp() * 1000))
    offset: int = consumer.offsets_for_times([at], _TIMES_SECONDS)[0].offset
    return end if offset < 0 else offset
