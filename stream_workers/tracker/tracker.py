"""The tracker: the only reader of outcomes whose counts are exact.

Ledgers, hosts, statuses and offsets go in one transaction, and a new owner of a partition reads the books
back to their very end before it counts on. Nothing is written without the offsets of its partition: they are
what a process that lost the partition can't commit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

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
from schemas.job_status import JobHost, Ledger
from schemas.jobs import is_job_id
from schemas.outcomes import decode_outcome
from schemas.settings import Settings
from stream_workers.tracker.book import Book, books_of, enter
from stream_workers.tracker.metrics import TrackerMetrics
from stream_workers.tracker.status import status_of
from stream_workers.tracker.waiting import grow_stale, let_go

_log = logging.getLogger("skyfill.tracker")
_LONGEST = 2000
"""Characters of a text that goes into a dead letter."""
_MOST_SECONDS = 0.5
"""How old the status may be that people see."""
_LOOK_SECONDS = 5.0
"""How often jobs are looked at to which nothing comes."""
_HOSTS_AT_ONCE = 10_000
"""Hosts that are given up in one transaction, but for the last job's."""


class Tracker:
    """Life: made (connects), `run` until `stop` is set."""

    def __init__(
        self,
        settings: Settings,
        metrics: TrackerMetrics | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        """Raises DeploymentError if the topics are not as they have to be. `clock` gives the time of day, in
        UTC; jobs that nothing comes for are looked at every `look_seconds`."""
        kafka = settings.kafka
        self._metrics = metrics or TrackerMetrics()
        self._metrics.watch(self._jobs)
        self._kafka, self._names = kafka, Names(kafka.topic_prefix)
        admin, wanted = clients.admin(kafka), topics(kafka)
        check_topics(admin, wanted)
        check_offset_retention(admin, kafka)
        self._partitions = kafka.partitions.outcomes
        self._interval = min(_MOST_SECONDS, kafka.commit_interval_seconds)
        self._stale_after = timedelta(seconds=settings.tracker.stale_seconds)
        self._kept_for = timedelta(days=settings.tracker.history_days)
        self._look_seconds = min(look_seconds, settings.tracker.stale_seconds / 4)
        self._clock = clock
        self._books: dict[str, Book] = {}
        self._positions: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        """Where the partitions ended that were read to their end; some of them may have gone on since."""
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
        committed_at = looked_at = time.monotonic()
        while not stop.is_set():
            polled = self._membership.poll(1000, 0.1)
            for message in polled.messages:
                self._count(message)
            for (_, partition), position in polled.ends.items():
                self._reach(partition, position)
                self._ends[partition] = position
            if time.monotonic() - looked_at >= self._look_seconds:
                self._look()
                looked_at = time.monotonic()
            if time.monotonic() - committed_at >= self._interval:
                self._commit()
                committed_at = time.monotonic()
        self._membership.close()  # revokes, which commits

    def assigned(self, start: Sequence[TopicPartition]) -> None:
        """Reads the books of these partitions back. See messaging.membership.Owner."""
        partitions = [at.partition for at in start]
        ledgers = CompactedView(self._kafka, self._names.ledger, Ledger.decode, partitions)
        pages = CompactedView(self._kafka, self._names.job_hosts, JobHost.decode, partitions)
        try:
            for view in (ledgers, pages):
                view.catch_up(4 * self._kafka.transaction_timeout_seconds)
            self._books |= books_of(ledgers.items.values(), pages.items.values())
        finally:
            ledgers.close()
            pages.close()
        self._positions |= {at.partition: at.offset for at in start}

    def revoking(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Commits, then forgets these partitions' jobs. See messaging.membership.Owner."""
        self._commit()
        gone = {partition for _, partition in partitions}
        for partition in gone:
            self._positions.pop(partition, None)
            self._ends.pop(partition, None)
        self._books = {job: book for job, book in self._books.items() if self._partition(job) not in gone}

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
        if not is_job_id(outcome.job_id):
            self._set_aside(message, "its job_id is none that the planner gives")
            return
        self._metrics.counted(outcome)
        book = self._books.get(outcome.job_id) or Book(Ledger(job_id=outcome.job_id))
        if enter(book, outcome, datetime.fromtimestamp(message.timestamp / 1000, UTC)):
            self._books[outcome.job_id] = book
            self._dirty.add(outcome.job_id)

    def _look(self) -> None:
        """Sees to jobs that nothing comes for: stale ones, and those that ended long ago."""
        now, given_up = self._clock(), 0
        for job_id, book in self._books.items():
            hosts = len(book.hosts)
            if given_up < _HOSTS_AT_ONCE and let_go(book, now, self._kept_for):
                self._dirty.add(job_id)
                given_up += hosts
            elif self._is_read(job_id) and grow_stale(book.ledger, now, self._stale_after):
                _log.warning(
                    "job %s is stale: nothing has come for it since %s", job_id, book.ledger.stale_since
                )
                self._dirty.add(job_id)

    def _is_read(self, job_id: str) -> bool:
        """Whether all that is committed for the job is in its book."""
        partition = self._partition(job_id)
        return self._ends.get(partition) == self._positions[partition]

    def _jobs(self) -> tuple[int, int]:
        books = list(self._books.values())
        ended = sum(book.ledger.finished_at is not None for book in books)
        return len(books) - ended, ended

    def _partition(self, job_id: str) -> int:
        return partition_for(job_id, self._partitions)

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
            at=self._clock(),
        )
        self._publisher.publish(self._names.deadletter, message.key[:_LONGEST], letter.encode())

    def _reach(self, partition: int, position: int) -> None:
        if position > self._positions.get(partition, position):
            self._positions[partition] = position
            self._moved.add(partition)

    def _commit(self) -> None:
        now = self._clock()
        for job_id in self._dirty:
            book = self._books[job_id]
            self._publisher.publish(self._names.ledger, job_id, book.ledger.encode())
            self._publisher.publish(self._names.job_status, job_id, status_of(book.ledger, now).encode())
            for key, page in book.changes():
                value = None if page is None else page.encode()
                self._publisher.publish(self._names.job_hosts, key, value, beside=job_id)
            self._moved.add(self._partition(job_id))
        offsets = [
            TopicPartition(self._names.outcomes, partition, self._positions[partition])
            for partition in self._moved
        ]
        self._publisher.commit(offsets, self._membership.consumer)
        for job_id in self._dirty:
            self._books[job_id].written()
        self._dirty.clear()
        self._moved.clear()
