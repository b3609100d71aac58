"""One way to poll: messages, and how far each partition was read, holes and markers included."""

from __future__ import annotations

from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError

from schemas.errors import DeploymentError, OffsetsMissing


class Delivered(NamedTuple):
    """A message."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes | None
    timestamp: int
    """When it was produced, milliseconds since 1970."""


class Polled(NamedTuple):
    """What one call brought."""

    messages: list[Delivered]
    ends: dict[tuple[str, int], int]
    """Partitions read to their present read-committed end, and that position."""


PASSING = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._MAX_POLL_EXCEEDED,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._NOENT,  # a partition has no leader as yet, as an admin client says it
    }
)
"""librdkafka goes on by itself after these; a lost membership is told by the rebalance callback."""


def poll(consumer: Consumer, most: int, timeout: float) -> Polled:
    """Up to `most` messages, waiting up to `timeout` seconds for the first.

    Raises OffsetsMissing where the wanted offset is not kept any more, DeploymentError on errors that do
    not pass by themselves.
    """
    messages, ends = [], {}
    for message in consumer.consume(most, timeout):
        error, topic, partition, offset = (
            message.error(),
            message.topic(),
            message.partition(),
            message.offset(),
        )
        if error is None:
            assert topic is not None
            assert partition is not None
            assert offset is not None
            key = (message.key() or b"").decode("utf-8", "replace")
            messages.append(Delivered(topic, partition, offset, key, message.value(), message.timestamp()[1]))
        elif error.code() == KafkaError._PARTITION_EOF:
            assert topic is not None
            assert partition is not None
            assert offset is not None
            ends[topic, partition] = offset
        else:
            _judge(error, topic, partition)
    return Polled(messages, ends)


def _judge(error: KafkaError, topic: str | None, partition: int | None) -> None:
    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        raise OffsetsMissing(
            f"{topic} [{partition}] no longer holds the messages that come next ({error.str()}): they were "
            f"deleted before they were read. Raise the topic's retention; to go on with what is left, stop "
            f"the group's processes and set its offsets with kafka-consumer-groups --reset-offsets"
        )
    if error.code() not in PASSING and not error.retriable():
        raise DeploymentError(f"reading {topic} [{partition}] failed: {error.str()} ({error.name()})")
