"""How a sink commits: offsets alone, or offsets and dead letters in one transaction.

A refused commit means that another process owns the partitions, and this one has to end; unless the group
is just rebalancing, which the next polls bring to an end, or to the news that the membership is lost.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from messaging import clients
from messaging.instruments import TransactionMetrics
from messaging.names import Names, SinkKind
from messaging.transactions import TransactionalPublisher
from schemas.deadletter import DeadLetter
from schemas.errors import FencedError
from schemas.settings import Settings

_TRIES = 20
_PAUSE_SECONDS = 0.25
_REBALANCING = frozenset({KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION})
"""Said to a member that is rejoining as to one that was replaced. The broker accepts the latter's offsets
only after it has rejoined, and before that its next poll reports the loss, which ends the process."""


class Commits:
    """For one thread. The transactional producer is made for the first dead letter: most sinks have none."""

    def __init__(self, settings: Settings, kind: SinkKind, metrics: TransactionMetrics | None = None) -> None:
        self._metrics = metrics or TransactionMetrics()
        self._kafka = settings.kafka
        self._names = Names(settings.kafka.topic_prefix)
        group = self._names.sink_group(kind)
        # Without a slot of its own a process takes an id that nobody shares: two processes under one id
        # would fence each other for ever. What it leaves open is aborted by the broker after a while.
        self._id = (
            f"{group}.{uuid.uuid4().hex}"
            if settings.worker_slot is None
            else self._names.transactional_id(group, settings.worker_slot)
        )
        self._publisher: TransactionalPublisher | None = None

    def commit(
        self, consumer: Consumer, offsets: Sequence[TopicPartition], letters: Sequence[DeadLetter]
    ) -> bool:
        """Both or neither; False if the group is rebalancing: poll, then try again. Raises FencedError."""
        if not letters:
            return self._commit_offsets(consumer, list(offsets))
        publisher = self._open()
        for letter in letters:
            publisher.publish(self._names.deadletter, letter.did or "", letter.encode())
        publisher.commit(offsets, consumer)
        return True

    def _open(self) -> TransactionalPublisher:
        if self._publisher is None:
            producer = clients.transactional_producer(self._kafka, self._id)
            counts = {self._names.deadletter: self._kafka.partitions.deadletter}
            publisher = TransactionalPublisher(producer, counts, self._metrics.of("dead letters"))
            publisher.open()
            self._publisher = publisher
        return self._publisher

    @staticmethod
    def _commit_offsets(consumer: Consumer, offsets: list[TopicPartition]) -> bool:
        for attempt in range(_TRIES):
            # Without a member id the broker would accept offsets of anybody: the group was lost just now.
            if not consumer.memberid():
                raise FencedError("this process is no longer a member of its group")
            try:
                done = consumer.commit(offsets=offsets, asynchronous=False)
                error = next((p.error for p in done if p.error), None)
            except KafkaException as exception:
                error = exception.args[0]
            if error is None:
                return True
            if error.code() in _REBALANCING:
                return False
            if attempt == _TRIES - 1 or not _passing(error):
                raise FencedError(f"committing offsets was refused: {error.str()} ({error.name()})")
            time.sleep(_PAUSE_SECONDS)
        return False


def _passing(error: KafkaError) -> bool:
    """A coordinator that moves: the same commit will do."""
    return error.retriable() or error.code() in (
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
    )
