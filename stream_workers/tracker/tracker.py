"""The tracker: the only reader of outcomes whose counts are exact.

Ledger, status and offsets go in one transaction, and a new owner of a partition reads the ledger back to
its very end before it counts on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from confluent_kafka import TopicPartition
from pydantic import ValidationError

from messaging import clients
from messaging.membership import Membership
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.polling import Delivered
from messaging.topics import check_offset_retention, check_topics, topics
from messaging.transactions import TransactionalPublisher
from messaging.views import CompactedView
from schemas.deadletter import DeadLetter, payload_text
from schemas.job_status import Ledger
from schemas.outcomes import decode_outcome
from schemas.settings import Settings
from stream_workers.tracker.book import enter, status_of
from stream_workers.tracker.metrics import TrackerMetrics

_log = logging.getLogger("skyfill.tracker")
_LONGEST = 2000
"""Characters of a text that goes into a dead letter."""
_MOST_SECONDS = 0.5
"""How old the status may be that people see."""


class Tracker:
    """Life: made (connects), `run` until `stop` is set."""

    def __init__(self, settings: Settings, metrics: TrackerMetrics | None = None) -> None:
        """Raises DeploymentError if the topics are not as they have to be."""
        kafka = settings.kafka
        self._metrics = metrics or TrackerMetrics()
        self._metrics.watch(self._jobs)
        self._kafka, self._names = kafka, Names(kafka.topic_prefix)
        admin, wanted = clients.admin(kafka), topics(kafka)
        check_topics(admin, wanted)
        check_offset_retention(admin, kafka)
        self._partitions = kafka.partitions.outcomes
        self._interval = min(_MOST_SECONDS, kafka.commit_interval_seconds)
        self._ledgers: dict[str, Ledger] = {}
        self._positions: dict[int, int] = {}
        self._dirty: set[str] = set()
        self._moved: set[int] = set()
        own_id = self._names.transactional_id(self._names.tracker_group, settings.worker_slot or 0)
        self._publisher = TransactionalPublisher(
            clients.transactional_producer(kafka, own_id),
            {t.name: t.partitions for t in wanted},
            self._metrics.transactions.of("main"),
        )
        self._publisher.open()
        self._membership = Membership(
            kafka, self._names.tracker_group, self._names.outcomes, self, metrics=self._metrics.group
        )

    def run(self, stop: threading.Event) -> None:
        """Counts until `stop`; FencedError when another process took this one's place."""
        committed_at = time.monotonic()
        while not stop.is_set():
            polled = self._membership.poll(1000, 0.1)
            for message in polled.messages:
                self._count(message)
            for (_, partition), position in polled.ends.items():
                self._reach(partition, position)
            if time.monotonic() - committed_at >= self._interval:
                self._commit()
                committed_at = time.monotonic()
        self._membership.close()  # revokes, which commits

    def assigned(self, start: Sequence[TopicPartition]) -> None:
        """Reads the ledger of these partitions back. See messaging.membership.Owner."""
        view = CompactedView(self._kafka, self._names.ledger, Ledger.decode, [at.partition for at in start])
        try:
            view.catch_up(4 * self._kafka.transaction_timeout_seconds)
            self._ledgers |= view.items
        finally:
            view.close()
        self._positions |= {at.partition: at.offset for at in start}

    def revoking(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Commits, then forgets these partitions' jobs. See messaging.membership.Owner."""
        self._commit()
        gone = {partition for _, partition in partitions}
        for partition in gone:
            self._positions.pop(partition, None)
        self._ledgers = {
            job: ledger
            for job, ledger in self._ledgers.items()
            if partition_for(job, self._partitions) not in gone
        }

    def _count(self, message: Delivered) -> None:
        if message.partition not in self._positions:
            return
        self._reach(message.partition, message.offset + 1)
        try:
            outcome = decode_outcome(message.value or b"")
        except ValidationError as error:
            self._set_aside(message, str(error))
            return
        if outcome.job_id != message.key:
            self._set_aside(message, f"its key is {message.key!r}, its job_id {outcome.job_id!r}")
            return
        self._metrics.counted(outcome)
        ledger = self._ledgers.setdefault(outcome.job_id, Ledger(job_id=outcome.job_id))
        if enter(ledger, outcome, datetime.fromtimestamp(message.timestamp / 1000, UTC)):
            self._dirty.add(outcome.job_id)

    def _jobs(self) -> tuple[int, int]:
        ledgers = list(self._ledgers.values())
        ended = sum(ledger.finished_at is not None for ledger in ledgers)
        return len(ledgers) - ended, ended

    def _set_aside(self, message: Delivered, detail: str) -> None:
        self._metrics.set_aside()
        _log.warning(
            "outcomes [%d] offset %d is not an outcome: %s", message.partition, message.offset, detail
        )
        letter = DeadLetter(
            stage="track",
            error_type="processing_failed",
            reason="OutcomeInvalid",
            detail=detail[:_LONGEST],
            job_id=message.key[:_LONGEST],
            payload=payload_text(message.value or b""),
            at=datetime.now(UTC),
        )
        self._publisher.publish(self._names.deadletter, message.key[:_LONGEST], letter.encode())

    def _reach(self, partition: int, position: int) -> None:
        if position > self._positions.get(partition, position):
            self._positions[partition] = position
            self._moved.add(partition)

    def _commit(self) -> None:
        now = datetime.now(UTC)
        for job_id in self._dirty:
            ledger = self._ledgers[job_id]
            self._publisher.publish(self._names.ledger, job_id, ledger.encode())
            self._publisher.publish(self._names.job_status, job_id, status_of(ledger, now).encode())
        offsets = [
            TopicPartition(self._names.outcomes, partition, self._positions[partition])
            for partition in self._moved
        ]
        self._publisher.commit(offsets, self._membership.consumer)
        self._dirty.clear()
        self._moved.clear()
