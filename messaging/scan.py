"""One pass over a partition, from a point in time to what is committed now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

from confluent_kafka import TopicPartition

from messaging import clients
from messaging.polling import Delivered, poll
from messaging.topics import end_offsets, offsets_since
from schemas.errors import DeploymentError
from schemas.settings import KafkaSettings

_BATCH = 1000
_POLL_SECONDS = 0.1


def scan(
    kafka: KafkaSettings,
    topic: str,
    partition: int,
    since: datetime | None,
    *,
    begin: int = 0,
    until: int | None = None,
    patience: float = 60.0,
) -> Iterator[Delivered]:
    """All messages committed by now, from the first one produced at or after `since` on; None: all kept.

    `begin` and `until` are offsets: it does not begin before the one and ends before the other. Raises
    DeploymentError when nothing comes for `patience` seconds although the end is not reached.
    """
    admin = clients.admin(kafka)
    end = end_offsets(admin, topic, [partition])[partition]
    end = end if until is None else min(end, until)
    consumer = clients.reader(kafka)
    try:
        position = begin
        if since is not None:
            position = max(begin, offsets_since(admin, topic, [partition], since)[partition])
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
