"""Two streams of one group, in one process: what is handed out, held, committed, and carried over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from confluent_kafka import Consumer, TopicPartition

from messaging.clients import transactional_producer
from messaging.names import Names
from messaging.task_stream import Task, TaskStream
from messaging.topics import committed_offsets, create_topics, end_offsets
from messaging.transactions import TransactionalPublisher
from messaging.window import OffsetWindow
from schemas.settings import KafkaSettings
from tests.messaging.broker import PARTITIONS, admin, eventually, produce, settings, transactional

ALL = set(range(PARTITIONS))
Place = tuple[str, int]


class Worker:
    """A stream with its publisher; the test is its only thread, so nothing happens behind its back."""

    def __init__(self, kafka: KafkaSettings, slot: int, window_limit: int) -> None:
        names = Names(kafka.topic_prefix)
        producer = transactional_producer(kafka, names.transactional_id(names.worker_group, slot))
        self.publisher = TransactionalPublisher(producer, {})
        self.publisher.open()
        self.tasks: list[Task] = []
        self.held_when_revoked: list[bool] = []
        self.revoked: list[Place] = []
        self.stream = TaskStream(
            kafka,
            names.worker_group,
            names.dids,
            names.dids_retry,
            lock=threading.RLock(),
            before_revoke=self.before_revoke,
            window_limit=window_limit,
        )

    @property
    def partitions(self) -> set[int]:
        return self.stream.membership.partitions

    def poll(self) -> None:
        self.tasks += self.stream.poll(0.05)

    def finish(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            assert self.stream.held(task)
            self.stream.finish(task)

    def commit(self) -> None:
        offsets = self.stream.offsets()
        self.publisher.commit(offsets, self.stream.membership)
        self.stream.mark_committed(offsets)

    def before_revoke(self, partitions: Sequence[Place]) -> None:
        """The last moment at which everything is still held, and can be committed."""
        going = [task for task in self.tasks if (task.topic, task.partition) in partitions]
        self.held_when_revoked += [self.stream.held(task) for task in going]
        self.revoked += partitions
        self.commit()


@pytest.fixture
def deployment(kafka: str, prefix: str) -> KafkaSettings:
    create_topics(admin(kafka), settings(kafka, prefix))
    return settings(kafka, prefix, session_timeout_seconds=5)


@pytest.fixture
def names(deployment: KafkaSettings) -> Names:
    return Names(deployment.topic_prefix)


@pytest.fixture
def hire(deployment: KafkaSettings) -> Iterator[Callable[..., Worker]]:
    """Makes workers, and lets all leave in the end."""
    made: list[Worker] = []

    def hired(window_limit: int = 20_000) -> Worker:
        made.append(Worker(deployment, len(made), window_limit))
        return made[-1]

    yield hired
    for worker in made:
        worker.stream.close()


def until(condition: Callable[[], bool], *workers: Worker) -> None:
    def polled() -> bool:
        for worker in workers:
            worker.poll()
        return condition()

    eventually(polled)


def write(kafka: KafkaSettings, topic: str, partition: int, count: int) -> None:
    assert kafka.bootstrap_servers is not None
    produce(kafka.bootstrap_servers, topic, partition, [("https://pds.example", "{}")] * count)


def places(tasks: Sequence[Task]) -> list[tuple[str, int, int]]:
    return sorted((task.topic, task.partition, task.offset) for task in tasks)


def test_every_message_is_handed_out_once(
    deployment: KafkaSettings, names: Names, hire: Callable[..., Worker]
) -> None:
    write(deployment, names.dids, 0, 700)
    write(deployment, names.dids, 3, 30)
    write(deployment, names.dids_retry, 3, 20)
    worker = hire()
    until(lambda: len(worker.tasks) == 750, worker)
    wanted = [(names.dids, 0, offset) for offset in range(700)]
    wanted += [(names.dids, 3, offset) for offset in range(30)]
    wanted += [(names.dids_retry, 3, offset) for offset in range(20)]
    assert places(worker.tasks) == sorted(wanted)
    assert worker.stream.in_flight().tasks == 750
    assert worker.stream.in_flight().beyond_commit == 0
    assert {(task.key, task.value) for task in worker.tasks} == {("https://pds.example", b"{}")}


def test_the_lowest_unfinished_offset_is_committed_with_the_rest_beside_it(
    deployment: KafkaSettings, names: Names, hire: Callable[..., Worker]
) -> None:
    write(deployment, names.dids, 1, 10)
    worker = hire()
    until(lambda: len(worker.tasks) == 10, worker)
    worker.finish([task for task in worker.tasks if task.offset in (0, 1, 4, 9)])
    assert worker.stream.in_flight().tasks == 6
    assert worker.stream.in_flight().beyond_commit == 2
    [offset] = [at for at in worker.stream.offsets() if (at.topic, at.partition) == (names.dids, 1)]
    assert offset.offset == 2
    restored = OffsetWindow(offset.offset, offset.metadata or "")
    assert [number for number in range(2, 10) if restored.deliver(number)] == [2, 3, 5, 6, 7, 8]
    worker.commit()
    assert worker.stream.offsets() == []
    eventually(lambda: place(deployment, names, names.dids, 1) == 2)  # the marker follows the commit


def test_holes_at_the_end_are_committed_too(
    deployment: KafkaSettings, names: Names, hire: Callable[..., Worker], kafka: str
) -> None:
    """Nothing in flight: the position is the end, past markers and what was aborted; then silence."""
    with transactional(kafka, names.prefix) as producer:
        for end in (producer.commit_transaction, producer.abort_transaction):
            producer.begin_transaction()
            for _ in range(5):
                producer.produce(names.dids, b"{}", "https://pds.example", 2)
            producer.flush(30)
            end(30)
    worker = hire()
    until(lambda: len(worker.tasks) == 5, worker)
    worker.finish(worker.tasks)
    client = admin(kafka)
    end_of_log = end_offsets(client, names.dids, [2])[2]
    assert end_of_log == 12

    def committed() -> bool:
        worker.commit()
        return place(deployment, names, names.dids, 2) == end_of_log

    until(committed, worker)
    for _ in range(5):
        worker.poll()
        assert worker.stream.offsets() == []


def test_a_partition_that_moves_takes_its_window_along(
    deployment: KafkaSettings, names: Names, hire: Callable[..., Worker]
) -> None:
    for partition in ALL:
        write(deployment, names.dids, partition, 10)
        write(deployment, names.dids_retry, partition, 5)
    first = hire()
    until(lambda: len(first.tasks) == 15 * PARTITIONS, first)
    done = [task for task in first.tasks if task.offset % 3 == 1]
    first.finish(done)
    second = hire()
    until(lambda: len(second.partitions) == len(first.partitions) == PARTITIONS // 2, first, second)
    assert first.partitions | second.partitions == ALL
    assert sorted(first.revoked) == sorted(
        (topic, p) for topic in (names.dids, names.dids_retry) for p in second.partitions
    )
    assert first.held_when_revoked
    assert all(first.held_when_revoked)
    for task in first.tasks:
        assert first.stream.held(task) == (task.partition in first.partitions)
    moved = [task for task in first.tasks if task.partition in second.partitions and task not in done]
    until(lambda: len(second.tasks) >= len(moved), first, second)
    assert places(second.tasks) == places(moved)
    kept = [task for task in first.tasks if task.partition in first.partitions and task not in done]
    assert first.stream.in_flight().tasks == len(kept)
    first.finish(kept)
    second.finish(second.tasks)
    first.commit()
    second.commit()
    for partition in ALL:
        eventually(lambda p=partition: place(deployment, names, names.dids, p) == 10)
        eventually(lambda p=partition: place(deployment, names, names.dids_retry, p) == 5)


def test_a_task_from_an_earlier_holding_is_not_held_when_the_partition_is_back(
    deployment: KafkaSettings, names: Names, hire: Callable[..., Worker]
) -> None:
    """Meanwhile somebody else may have done it."""
    for partition in ALL:
        write(deployment, names.dids, partition, 3)
    first = hire()
    until(lambda: len(first.tasks) == 3 * PARTITIONS, first)
    earlier = list(first.tasks)
    second = hire()
    until(lambda: bool(second.partitions) and len(second.tasks) == 3 * len(second.partitions), first, second)
    gone = set(second.partitions)
    second.finish([task for task in second.tasks if task.offset == 1])
    second.stream.close()
    first.tasks.clear()
    until(lambda: first.partitions == ALL and len(first.tasks) == 2 * len(gone), first)
    assert places(first.tasks) == sorted((names.dids, p, offset) for p in gone for offset in (0, 2))
    assert all(first.stream.held(task) for task in first.tasks)
    for task in earlier:
        assert first.stream.held(task) == (task.partition not in gone)


def test_a_full_window_waits_for_its_oldest_task(
    deployment: KafkaSettings, names: Names, hire: Callable[..., Worker]
) -> None:
    write(deployment, names.dids, 0, 3000)
    write(deployment, names.dids, 1, 10)
    worker = hire(window_limit=100)
    until(lambda: worker.stream.full(names.dids) == {0}, worker)
    for _ in range(20):
        worker.poll()
    assert worker.stream.full(names.dids_retry) == set()
    delivered = [task for task in worker.tasks if task.partition == 0]
    assert 100 <= len(delivered) < 100 + 500 + 1
    assert len(worker.tasks) == len(delivered) + 10
    oldest, *others = delivered
    worker.finish(others)
    for _ in range(10):
        worker.poll()
    assert worker.stream.full(names.dids) == {0}
    worker.finish([oldest])
    finished = len(worker.tasks)

    def all_came() -> bool:
        nonlocal finished
        worker.finish(worker.tasks[finished:])
        finished = len(worker.tasks)
        return finished == 3000 + 10

    until(all_came, worker)
    assert sorted(task.offset for task in worker.tasks if task.partition == 0) == list(range(3000))


def test_a_full_partition_that_moves_is_read_by_its_next_owner_and_after_its_return(
    deployment: KafkaSettings, names: Names, hire: Callable[..., Worker]
) -> None:
    for partition in ALL:
        write(deployment, names.dids, partition, 50)
    first = hire(window_limit=10)
    until(lambda: first.stream.full(names.dids) == ALL, first)
    second = hire(window_limit=10)
    until(
        lambda: bool(second.partitions) and second.stream.full(names.dids) == second.partitions, first, second
    )
    moved = set(second.partitions)
    assert first.stream.full(names.dids) == ALL - moved
    second.stream.close()
    first.tasks.clear()
    until(lambda: {task.partition for task in first.tasks} == moved, first)
    assert first.stream.full(names.dids) == ALL


def test_what_is_committed_is_what_another_consumer_reads_back(
    deployment: KafkaSettings, names: Names, hire: Callable[..., Worker], kafka: str
) -> None:
    write(deployment, names.dids, 0, 4)
    worker = hire()
    until(lambda: len(worker.tasks) == 4, worker)
    worker.finish([task for task in worker.tasks if task.offset == 2])
    worker.commit()
    other = Consumer({"bootstrap.servers": kafka, "group.id": names.worker_group})
    [found] = other.committed([TopicPartition(names.dids, 0)], 30)
    other.close()
    assert found.offset == 0
    restored = OffsetWindow(0, found.metadata or "")
    assert [offset for offset in range(4) if restored.deliver(offset)] == [0, 1, 3]


def place(kafka: KafkaSettings, names: Names, topic: str, partition: int) -> int:
    assert kafka.bootstrap_servers is not None
    return committed_offsets(admin(kafka.bootstrap_servers), names.worker_group, topic, [partition])[
        partition
    ]
