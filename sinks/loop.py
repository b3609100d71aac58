"""The consume loop of every sink: reads `records`, hands rows to the sink, commits what is stored.

Stored first, committed afterwards: a crash between the two delivers rows again, which the sink's contract
makes harmless. A commit never runs ahead of what is stored.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import NoReturn

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError

from messaging.crash import end_process
from messaging.membership import Membership
from messaging.names import Names
from messaging.polling import Delivered
from messaging.topics import topic_id
from messaging.views import CompactedView
from schemas.deadletter import DeadLetter
from schemas.errors import DeploymentError, FencedError, RowRefused
from schemas.job_specs import JobSpec
from schemas.job_status import JobStatus
from schemas.settings import Settings
from sinks import letters
from sinks.base import Sink
from sinks.commits import Commits
from sinks.metrics import SinkMetrics
from sinks.progress import DEAD_LETTERS, Progress
from sinks.routes import Routes
from sinks.rows import Row, Sync, read
from sinks.tenure import Tenure

_BATCH = 500
_POLL_SECONDS = 0.1
_COMMIT_SECONDS = 0.5
_LEAVE_SECONDS = 15.0
_ORPHANS_REMEMBERED = 100_000
_log = logging.getLogger("skyfill.sink")


class Held:
    """One partition that this process owns."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.end = -1
        """The read-committed end when it was last seen."""
        self.jobs: set[str] = set()
        """Jobs with rows that may not be stored yet."""
        self.letters: list[DeadLetter] = []
        """To be published with the next commit."""

    @property
    def at_end(self) -> bool:
        return self.end >= self.progress.position


class SinkLoop:
    """Life: made, then `run` once, until told to stop."""

    def __init__(
        self,
        settings: Settings,
        admin: AdminClient,
        sink: Sink,
        tenure: Tenure,
        records_id: str,
        *,
        end: Callable[[str], NoReturn] = end_process,
        metrics: SinkMetrics | None = None,
    ) -> None:
        """`records_id` is the topic's UUID that the sink was told. Raises DeploymentError, ConfigError."""
        kafka = settings.kafka
        names = Names(kafka.topic_prefix)
        self._admin, self._topic, self._records_id = admin, names.records, records_id
        self._sink, self._tenure, self._end = sink, tenure, end
        self._specs = CompactedView(kafka, names.job_specs, JobSpec.decode)
        self._statuses = CompactedView(kafka, names.job_status, JobStatus.decode)
        self._routes = Routes(self._specs, sink.destinations)
        self._metrics = metrics or SinkMetrics()
        self._commits = Commits(settings, sink.kind, self._metrics.transactions)
        self._held: dict[int, Held] = {}
        self._orphans: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._handed = 0
        """Rows given to the sink that the metrics do not tell of yet: an instrument is too dear for each."""
        self._housekeeping = time.monotonic()
        group, topic = names.sink_group(sink.kind), names.records
        self._membership = Membership(kafka, group, topic, self, end=end, metrics=self._metrics.group)

    def holds(self, partition: int) -> bool:
        """Whether a partition is this process's now. Any thread may ask."""
        return partition in self._membership.partitions

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set, then stores and commits all that was read, and leaves the group.

        Raises SinkError and DeploymentError: what the user has to set right. Ends the process where the
        partitions are lost.
        """
        self._tenure.begin()
        try:
            self._specs.catch_up()
            self._statuses.catch_up()
            while not stop.is_set():
                self._step()
            give_up_at = time.monotonic() + _LEAVE_SECONDS
            while not self._settle(list(self._held)) and time.monotonic() < give_up_at:
                self._step()  # the group is rebalancing, which polling brings to an end
        except FencedError as error:
            self._held.clear()
            self._end(str(error))
        except BaseException:
            # Whatever failed would fail again while the group is left: nothing more is stored or committed.
            self._held.clear()
            raise
        finally:
            self._membership.close()
            self._sink.close()
            self._specs.close()
            self._statuses.close()
            self._tenure.finish()

    def assigned(self, start: Sequence[TopicPartition]) -> None:
        """Restores what was committed; see messaging.membership.Owner."""
        if start and topic_id(self._admin, self._topic) != self._records_id:
            raise DeploymentError(f"{self._topic} was deleted and made again; starting anew with the new one")
        for place in start:
            self._held[place.partition] = Held(Progress(place.offset, place.metadata or ""))

    def revoking(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Stores and commits what was read, then forgets it."""
        going = [partition for _, partition in partitions]
        if not self._settle([p for p in going if p in self._held]):
            raise FencedError("the group did not wait for this process to commit")
        for partition in going:
            self._held.pop(partition, None)
        self._sink.forget(going)

    def _step(self) -> None:
        polled = self._membership.poll(_BATCH, _POLL_SECONDS)
        self._tenure.check()
        for message in polled.messages:
            # A rebalance inside poll may leave messages of partitions that are gone or begin anew.
            held = self._held.get(message.partition)
            if held is not None and message.offset >= held.progress.position:
                self._take(held, message)
        for (_, partition), position in polled.ends.items():
            if held := self._held.get(partition):
                held.end = position
                held.progress.reached(position)
        self._metrics.read(self._handed)
        self._handed = 0
        self._sink.flush_due()
        if time.monotonic() - self._housekeeping >= _COMMIT_SECONDS:
            self._specs.poll()
            self._statuses.poll()
            self._sink.flush(self._finished())
            self._commit(self._held)
            self._housekeeping = time.monotonic()

    def _take(self, held: Held, message: Delivered) -> None:
        try:
            row = read(message.value, message.partition, message.offset)
        except ValidationError as error:
            self._bury(held, message, [letters.malformed(message, error)])
        else:
            destinations = self._routes.of(row.job)
            if destinations is None:
                self._orphan(held, message, row)
            elif isinstance(row, Row) and destinations:
                self._hand_over(held, message, row, destinations)
        held.progress.reached(message.offset + 1)

    def _hand_over(self, held: Held, message: Delivered, row: Row, destinations: tuple[str, ...]) -> None:
        held.jobs.add(row.job)
        dead = []
        for destination in destinations:
            if not held.progress.wants(destination, row.offset):
                continue
            try:
                self._sink.add(destination, row)
            except RowRefused as error:
                dead.append(letters.refused(message, row, destination, error))
            held.progress.took(destination, row.offset)
            self._handed += 1
        self._bury(held, message, dead)

    def _orphan(self, held: Held, message: Delivered, row: Row | Sync) -> None:
        """One dead letter for the first row of an account; it stands for the rows that follow."""
        key = (row.job, row.did)
        if key in self._orphans:
            return
        self._orphans[key] = None
        if len(self._orphans) > _ORPHANS_REMEMBERED:
            self._orphans.popitem(last=False)
        _log.error("rows of %s belong to job %s, which is not in job-specs; not stored", row.did, row.job)
        self._bury(held, message, [letters.orphaned(message, row)])

    def _bury(self, held: Held, message: Delivered, dead: list[DeadLetter]) -> None:
        if dead and held.progress.wants(DEAD_LETTERS, message.offset):
            self._metrics.buried(len(dead))
            held.letters += dead
            held.progress.took(DEAD_LETTERS, message.offset)

    def _finished(self) -> list[int]:
        """Partitions read to their end that hold rows of a job to which nothing will be added."""
        finished = []
        for partition, held in self._held.items():
            if not self._sink.unstored(partition):
                held.jobs.clear()
            elif held.at_end and any(
                job in self._statuses.items and self._statuses.items[job].final for job in held.jobs
            ):
                finished.append(partition)
        return finished

    def _settle(self, partitions: Collection[int]) -> bool:
        self._sink.flush(partitions)
        return self._commit(partitions)

    def _commit(self, partitions: Collection[int]) -> bool:
        """Commits where something changed, together with the dead letters found on the way there.

        False if the group is rebalancing: the same is committed next time.
        """
        held = {p: self._held[p] for p in partitions}
        points = {p: h.progress.point(self._sink.unstored(p)) for p, h in held.items()}
        points = {p: point for p, point in points.items() if held[p].progress.changed(point)}
        if not points:
            return True
        offsets = [TopicPartition(self._topic, p, offset, text) for p, (offset, text) in points.items()]
        dead = [letter for p in points for letter in held[p].letters]
        if not self._commits.commit(self._membership.consumer, offsets, dead):
            return False
        for partition, point in points.items():
            held[partition].letters.clear()
            held[partition].progress.committed(point)
        return True
