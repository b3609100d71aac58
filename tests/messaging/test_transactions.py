"""What a process publishes becomes visible with its offsets or not at all, while it has its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition

from messaging.clients import MESSAGE_BYTES, group_consumer, transactional_producer
from messaging.partitioner import partition_for
from messaging.topics import committed_offsets, end_offsets
from messaging.transactions import TransactionalPublisher
from schemas.errors import FencedError
from tests.messaging.broker import admin, eventually, make_topic, read_all, settings

PARTITIONS = 2
Open = Callable[..., TransactionalPublisher]


@pytest.fixture
def topic(kafka: str, prefix: str) -> str:
    name = f"{prefix}out"
    make_topic(kafka, name, PARTITIONS)
    return name


@pytest.fixture
def publisher(kafka: str, prefix: str, topic: str) -> Open:
    """Opens a publisher with a slot's transactional id."""

    def opened(slot: int = 0, seconds: float | None = None) -> TransactionalPublisher:
        producer = transactional_producer(
            settings(kafka, prefix), f"{prefix}out.{slot}", timeout_seconds=seconds
        )
        made = TransactionalPublisher(producer, {topic: PARTITIONS})
        made.open()
        return made

    return opened


@pytest.fixture
def member(kafka: str, prefix: str, topic: str) -> Iterator[Consumer]:
    """The only member of a group that reads the topic from its beginning."""
    consumer = group_consumer(settings(kafka, prefix), f"{prefix}group")
    consumer.commit(offsets=[TopicPartition(topic, p, 0) for p in range(PARTITIONS)], asynchronous=False)
    assigned: list[TopicPartition] = []
    consumer.subscribe([topic], on_assign=lambda _, partitions: assigned.extend(partitions))
    while not assigned:
        consumer.poll(0.1)
    yield consumer
    consumer.close()


def values(kafka: str, topic: str) -> list[str | None]:
    return [message.value for message in read_all(kafka, topic, PARTITIONS)]


def place(kafka: str, prefix: str, topic: str) -> dict[int, int]:
    return committed_offsets(admin(kafka), f"{prefix}group", topic, range(PARTITIONS))


def test_nothing_is_visible_before_the_commit(
    kafka: str, prefix: str, topic: str, publisher: Open, member: Consumer
) -> None:
    writer = publisher()
    writer.publish(topic, "a", b"1")
    writer.publish(topic, "a", None)
    assert writer.in_transaction
    assert values(kafka, topic) == []
    writer.commit([TopicPartition(topic, 1, 5, "bitmap")], member)
    assert not writer.in_transaction
    assert writer.queued() == 0
    eventually(lambda: values(kafka, topic) == ["1", None])
    eventually(lambda: place(kafka, prefix, topic) == {0: 0, 1: 5})
    assert member.committed([TopicPartition(topic, 1)], 10)[0].metadata == "bitmap"


def test_what_is_aborted_is_never_visible(kafka: str, topic: str, publisher: Open) -> None:
    writer = publisher()
    writer.publish(topic, "a", b"wrong")
    writer.abort()
    assert not writer.in_transaction
    writer.publish(topic, "a", b"right")
    writer.commit()
    eventually(lambda: values(kafka, topic) == ["right"])


def test_nothing_to_commit_is_no_transaction(kafka: str, topic: str, publisher: Open) -> None:
    writer = publisher()
    writer.publish(topic, "a", b"1")
    writer.commit()
    ends = end_offsets(admin(kafka), topic, range(PARTITIONS))
    writer.commit()
    writer.abort()
    assert end_offsets(admin(kafka), topic, range(PARTITIONS)) == ends


def test_offsets_alone_are_committed(
    kafka: str, prefix: str, topic: str, publisher: Open, member: Consumer
) -> None:
    publisher().commit([TopicPartition(topic, 0, 3)], member)
    eventually(lambda: place(kafka, prefix, topic) == {0: 3, 1: 0})


def test_a_keys_messages_keep_their_order_beyond_the_queues_size(kafka: str, prefix: str, topic: str) -> None:
    """A repository may have more records than librdkafka takes at once."""
    small = {"queue.buffering.max.messages": 500}
    writer = TransactionalPublisher(
        transactional_producer(settings(kafka, prefix, client=small), f"{prefix}small"), {topic: PARTITIONS}
    )
    writer.open()
    wanted = [str(number).encode() for number in range(60_000)]
    writer.publish_all(topic, "did:plc:large", wanted)
    writer.commit()
    found = read_all(kafka, topic, PARTITIONS)
    assert [message.value for message in found] == [value.decode() for value in wanted]
    assert {message.partition for message in found} == {partition_for("did:plc:large", PARTITIONS)}


def test_a_message_too_large_ends_the_process(kafka: str, topic: str, publisher: Open) -> None:
    """What can't be published can't be left out either: whoever publishes has to look at sizes before."""
    writer = publisher()
    writer.publish(topic, "a", b"fine")
    with pytest.raises(FencedError, match="a message was refused"):
        writer.publish(topic, "a", b"x" * (MESSAGE_BYTES + 1))
    publisher()  # its successor drops what it left
    assert values(kafka, topic) == []


def test_a_message_that_the_broker_refuses_takes_all_with_it(kafka: str, prefix: str) -> None:
    """The refusal comes later than the call that wrote it, with the commit at the latest."""
    narrow, wide = f"{prefix}narrow", f"{prefix}wide"
    make_topic(kafka, narrow, 1, {"max.message.bytes": "1000"})
    make_topic(kafka, wide, 1)
    config = settings(kafka, prefix)
    writer = TransactionalPublisher(transactional_producer(config, f"{prefix}id"), {narrow: 1, wide: 1})
    writer.open()
    writer.publish(wide, "a", b"fine")
    writer.publish(narrow, "a", bytes(range(256)) * 40 + str(list(range(5000))).encode())
    with pytest.raises(FencedError):
        writer.commit()
    TransactionalPublisher(transactional_producer(config, f"{prefix}id"), {}).open()
    assert read_all(kafka, wide, 1) == []


def test_a_successor_fences_its_predecessor(kafka: str, prefix: str, topic: str, publisher: Open) -> None:
    first = publisher()
    first.publish(topic, "a", b"committed")
    first.commit()
    first.publish(topic, "a", b"left open")
    second = publisher()
    eventually(lambda: values(kafka, topic) == ["committed"])
    second.publish(topic, "a", b"by the successor")
    with pytest.raises(FencedError, match="commit_transaction failed"):
        first.commit()
    second.commit()
    eventually(lambda: values(kafka, topic) == ["committed", "by the successor"])


def test_a_predecessors_offsets_are_refused(
    kafka: str, prefix: str, topic: str, publisher: Open, member: Consumer
) -> None:
    first = publisher()
    publisher()
    with pytest.raises(FencedError):
        first.commit([TopicPartition(topic, 0, 9)], member)
    assert place(kafka, prefix, topic) == {0: 0, 1: 0}


def test_other_slots_go_on(kafka: str, topic: str, publisher: Open) -> None:
    first, second = publisher(0), publisher(1)
    first.publish(topic, "a", b"1")
    second.publish(topic, "a", b"2")
    second.commit()
    first.commit()
    assert sorted(value or "" for value in values(kafka, topic)) == ["1", "2"]


def test_a_transaction_that_took_too_long_is_refused(kafka: str, topic: str, publisher: Open) -> None:
    writer = publisher(seconds=1)
    writer.publish(topic, "a", b"too late")
    undecided = end_offsets(admin(kafka), topic, range(PARTITIONS))
    eventually(lambda: end_offsets(admin(kafka), topic, range(PARTITIONS)) != undecided)
    with pytest.raises(FencedError):
        writer.commit()
    assert values(kafka, topic) == []


def test_who_is_no_member_any_more_is_refused_here(
    kafka: str, prefix: str, topic: str, publisher: Open, member: Consumer
) -> None:
    """The broker would take the offsets of a transaction without member id, whoever holds the partition."""
    outsider = group_consumer(settings(kafka, prefix), f"{prefix}group")
    writer = publisher()
    writer.publish(topic, "a", b"1")
    with pytest.raises(FencedError, match="no longer a member of its group"):
        writer.commit([TopicPartition(topic, 0, 7)], outsider)
    writer.abort()
    assert place(kafka, prefix, topic) == {0: 0, 1: 0}
    assert values(kafka, topic) == []
    bare = transactional_producer(settings(kafka, prefix), f"{prefix}bare")
    bare.init_transactions(30)
    bare.begin_transaction()
    bare.send_offsets_to_transaction([TopicPartition(topic, 0, 7)], outsider.consumer_group_metadata(), 30)
    bare.commit_transaction(30)
    eventually(lambda: place(kafka, prefix, topic) == {0: 7, 1: 0})


def test_a_member_of_an_older_generation_is_refused(
    kafka: str, prefix: str, topic: str, publisher: Open, member: Consumer
) -> None:
    """It has the member id still, but others have joined since it took the group's metadata."""
    writer = publisher()
    stale = Stale(member)
    other = group_consumer(settings(kafka, prefix), f"{prefix}group")
    held: list[TopicPartition] = []
    other.subscribe([topic], on_assign=lambda _, partitions: held.extend(partitions))
    deadline = time.monotonic() + 60
    while not held:
        assert time.monotonic() < deadline
        member.poll(0.05)
        other.poll(0.05)
    writer.publish(topic, "a", b"1")
    with pytest.raises(FencedError, match="ILLEGAL_GENERATION"):
        writer.commit([TopicPartition(topic, 0, 7)], stale)
    other.close()
    assert place(kafka, prefix, topic) == {0: 0, 1: 0}


class Stale:
    """What a member knew of its group a while ago."""

    def __init__(self, member: Consumer) -> None:
        self._metadata, self._id = member.consumer_group_metadata(), member.memberid()

    def consumer_group_metadata(self) -> object:
        return self._metadata

    def memberid(self) -> str | None:
        return self._id
