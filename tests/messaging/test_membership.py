"""A member takes partitions only with its place, and gives up only what it took."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from messaging.membership import Membership
from messaging.names import Names
from messaging.topics import create_topics
from schemas.errors import FencedError
from schemas.settings import KafkaSettings
from tests.messaging.broker import PARTITIONS, admin, eventually, settings


class Book:
    """An owner that writes down what it is told."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int]] = []
        self.given_up: list[tuple[str, int]] = []

    def assigned(self, start: Sequence[TopicPartition]) -> None:
        self.taken += [(at.topic, at.partition) for at in start]

    def revoking(self, partitions: Sequence[tuple[str, int]]) -> None:
        self.given_up += partitions


@pytest.fixture
def deployment(kafka: str, prefix: str) -> KafkaSettings:
    create_topics(admin(kafka), settings(kafka, prefix))
    return settings(kafka, prefix)


def join(kafka: KafkaSettings, owner: Book, ended: list[str]) -> Membership:
    names = Names(kafka.topic_prefix)
    end: Any = ended.append
    return Membership(kafka, names.worker_group, names.dids, owner, companions=[names.dids_retry], end=end)


def both_topics(kafka: KafkaSettings, partitions: Iterable[int]) -> list[tuple[str, int]]:
    names = Names(kafka.topic_prefix)
    return [(topic, p) for topic in (names.dids, names.dids_retry) for p in partitions]


def until(condition: Callable[[], bool], member: Membership) -> None:
    def polled() -> bool:
        member.poll(10, 0.1)
        return condition()

    eventually(polled)


def test_companions_come_and_go_with_their_partitions(deployment: KafkaSettings) -> None:
    book, ended = Book(), list[str]()
    member = join(deployment, book, ended)
    until(lambda: bool(book.taken), member)
    assert sorted(book.taken) == both_topics(deployment, range(PARTITIONS))
    assert member.partitions == set(range(PARTITIONS))
    assigned = {(tp.topic, tp.partition) for tp in member.consumer.assignment()}
    assert assigned == set(both_topics(deployment, range(PARTITIONS)))
    member.close()
    assert sorted(book.given_up) == both_topics(deployment, range(PARTITIONS))
    assert ended == []


def test_a_rebalance_that_waits_for_a_thread_does_not_keep_it_waiting(deployment: KafkaSettings) -> None:
    """Who commits holds the lock that the rebalance wants, and has to know its group meanwhile."""

    class Committing(Book):
        def assigned(self, start: Sequence[TopicPartition]) -> None:
            super().assigned(start)
            self._ask()

        def revoking(self, partitions: Sequence[tuple[str, int]]) -> None:
            super().revoking(partitions)
            self._ask()

        def _ask(self) -> None:
            asking = threading.Thread(target=lambda: answers.append(member.consumer_group_metadata()))
            asking.start()
            asking.join(5)

    answers: list[Any] = []
    book, ended = Committing(), list[str]()
    member = join(deployment, book, ended)
    assert not member.memberid()
    with pytest.raises(FencedError, match="no longer a member"):
        member.consumer_group_metadata()
    until(lambda: bool(book.taken), member)
    assert len(answers) == 1
    member.close()
    assert len(answers) == 2
    assert None not in answers
    assert ended == []


@pytest.mark.parametrize(("polls", "pause"), [(0, 0.0), (1, 0.0), (1, 0.2), (1, 0.5), (2, 0.5), (5, 0.0)])
def test_leaving_while_joining_is_no_loss(deployment: KafkaSettings, polls: int, pause: float) -> None:
    """SIGTERM may come at any moment of a join; what was never taken isn't given up either."""
    book, ended = Book(), list[str]()
    member = join(deployment, book, ended)
    for _ in range(polls):
        member.poll(10, 0.05)
    time.sleep(pause)  # the group may have given partitions meanwhile that nobody has taken yet
    member.close()
    assert ended == []
    assert sorted(book.given_up) == sorted(book.taken)
