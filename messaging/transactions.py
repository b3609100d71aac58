"""The transactional publisher: what a process writes becomes visible with its offsets, or not at all.

Crash-only: after any error of a transaction call the process ends, and its successor with the same
transactional id aborts what was left open. There is no way back to a half-made transaction.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaException, Producer, TopicPartition

from messaging.crash import must_return
from messaging.instruments import ProducerMetrics, TransactionMetrics
from messaging.partitioner import partition_for
from schemas.errors import FencedError

_POLL_EVERY = 500
_CALL_TIMEOUT = 30.0
_RETRIES = 5
_GRACE = 5.0
"""Seconds after its timeout in which a call has to return."""


class Member(Protocol):
    """Whose offsets are committed: a Membership, or the consumer itself in the thread that polls it."""

    def consumer_group_metadata(self) -> Any:
        """The group's metadata."""

    def memberid(self) -> str | None:
        """Empty for no member."""


class TransactionalPublisher:
    """Life: `open` once, then `publish` and `commit` by turns, from one thread at a time; `close`."""

    def __init__(
        self, producer: Producer, partitions: dict[str, int], metrics: ProducerMetrics | None = None
    ) -> None:
        """`producer` has a transactional.id; `partitions` are the counts of the topics it writes to."""
        self._producer = producer
        self._metrics = metrics or TransactionMetrics().of("main")
        self._metrics.watch(self.queued)
        self._partitions = partitions
        self._in_transaction = False
        self._since_poll = 0

    @property
    def in_transaction(self) -> bool:
        """Whether something was published since the last commit."""
        return self._in_transaction

    def open(self) -> None:
        """Fences the predecessor of the same transactional id and aborts what it left open."""
        self._call(self._producer.init_transactions, 60.0)

    def publish(self, topic: str, key: str, value: bytes | None, *, beside: str | None = None) -> None:
        """Adds one message to the transaction; None is a compacted topic's tombstone. Waits for room.

        `beside`: it goes to the partition of that key, not of its own.
        """
        self.publish_all(topic, key, (value,), beside=beside)

    def publish_all(
        self, topic: str, key: str, values: Sequence[bytes | None], *, beside: str | None = None
    ) -> None:
        """Adds messages of one key, in their order."""
        self._begin()
        partition, encoded = partition_for(beside or key, self._partitions[topic]), key.encode()
        for value in values:
            self._produce(topic, partition, encoded, value)
        self._metrics.published(topic, len(values))

    def commit(self, offsets: Sequence[TopicPartition] = (), member: Member | None = None) -> None:
        """Makes all visible, together with the offsets of `member`'s group. FencedError: end the process.

        The group's metadata is taken here, so the caller has to hold whatever keeps a rebalance out; a
        thread that does not poll passes the Membership, never its consumer.
        """
        started = time.monotonic()
        try:
            if offsets:
                assert member is not None
                self._begin()
                group = member.consumer_group_metadata()
                # Without a member id the broker would accept offsets of anybody: the group was lost just now.
                if not member.memberid():
                    raise FencedError("this process is no longer a member of its group")
                self._call(self._producer.send_offsets_to_transaction, list(offsets), group, _CALL_TIMEOUT)
            if self._in_transaction:
                self._call(self._producer.commit_transaction, _CALL_TIMEOUT)
                self._in_transaction = False
                self._metrics.ended("committed", time.monotonic() - started)
        except FencedError:
            self._metrics.ended("refused")
            raise

    def abort(self) -> None:
        """Drops what was published since the last commit."""
        if self._in_transaction:
            # All of it is with the broker first: an abort that overtakes the adding of a partition to the
            # transaction is refused as invalid.
            self._producer.flush(_CALL_TIMEOUT)
            self._call(self._producer.abort_transaction, _CALL_TIMEOUT)
            self._in_transaction = False
            self._metrics.ended("aborted")

    def queued(self) -> int:
        """Messages that the broker has not acknowledged yet."""
        return len(self._producer)

    def _begin(self) -> None:
        if not self._in_transaction:
            self._call(self._producer.begin_transaction)
            self._in_transaction = True
            self._metrics.began()

    def _produce(self, topic: str, partition: int, key: bytes, value: bytes | None) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, partition)
                break
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                raise FencedError(f"a message was refused: {error.args[0].str()}") from error
        self._since_poll += 1
        if self._since_poll >= _POLL_EVERY:
            self._since_poll = 0
            self._producer.poll(0)

    @staticmethod
    def _call(function: Any, *args: Any) -> None:
        # The last argument is always the timeout. send_offsets_to_transaction does not keep to it: called
        # after the group's coordinator went away, it never returns (librdkafka issue 5456).
        limit = _GRACE + (args[-1] if args else 0.0)
        for attempt in range(_RETRIES):
            try:
                with must_return(function.__name__, limit):
                    function(*args)
                return
            except KafkaException as error:
                kafka_error = error.args[0]
                if not kafka_error.retriable() or attempt == _RETRIES - 1:
                    raise FencedError(
                        f"{function.__name__} failed: {kafka_error.str()} ({kafka_error.name()})"
                    ) from error
