"""Places of a topic by time: where the last hour begins, and an idle group set back to there.

For readers whose memory may be lost: what they need of a topic is its recent past, in bounded measure.
"""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import UTC, datetime, timedelta

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from messaging.topics import end_offsets, offsets_since

_REQUEST_SECONDS = 10.0
_PAUSE_SECONDS = 0.5
_BUSY = {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP, KafkaError.REBALANCE_IN_PROGRESS}
_STARTING = {KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR}
_STARTING |= {KafkaError.COORDINATOR_LOAD_IN_PROGRESS}


def rewind(
    client: AdminClient, group: str, topic: str, *, seconds: float, most: int, patience: float
) -> dict[int, int] | None:
    """Commits, for each partition, the place of the first message of the last `seconds`, but at most `most`
    messages before the end. Returns these places.

    A group with members has a place already and keeps it: None, after `patience` seconds, in which the
    session of a member that was killed may run out. Raises KafkaException if the broker refuses.
    """
    places = places_since(client, topic, seconds, most)
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in places.items()]
    deadline = time.monotonic() + patience
    while True:
        start = ConsumerGroupTopicPartitions(group, list(wanted))
        future = client.alter_consumer_group_offsets([start], request_timeout=_REQUEST_SECONDS)[group]
        try:
            answer = future.result(_REQUEST_SECONDS)
            refused = {one.error.code() for one in answer.topic_partitions or [] if one.error}
        except KafkaException as error:
            refused = {error.args[0].code()}
            if not refused & (_BUSY | _STARTING):
                raise
        except FutureTimeout:
            refused = _STARTING
        if not refused:
            return places
        if time.monotonic() > deadline:
            return None
        time.sleep(_PAUSE_SECONDS)


def places_since(client: AdminClient, topic: str, seconds: float, most: int) -> dict[int, int]:
    """For each partition, the offset of the first message of the last `seconds`, but at most `most` before
    the end. Empty if there is no such topic."""
    partitions = client.list_topics(topic, timeout=_REQUEST_SECONDS).topics[topic].partitions
    if not partitions:
        return {}
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    ends = end_offsets(client, topic, partitions, committed=False)
    found = offsets_since(client, topic, partitions, since)
    return {partition: max(found[partition], end - most, 0) for partition, end in ends.items()}
