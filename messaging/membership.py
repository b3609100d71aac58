"""A member of a consumer group: state is restored when a partition comes, and given up before it goes.

A lost membership ends the process at once: after a silence another process owns the partitions, and after
rejoining the broker would accept this one's stale commits again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from messaging.clients import group_consumer
from messaging.crash import end_process, end_with
from messaging.instruments import GroupMetrics
from messaging.polling import Polled, poll
from messaging.topics import missing_offsets_text
from schemas.errors import FencedError, OffsetsMissing, SkyfillError
from schemas.settings import KafkaSettings

_log = logging.getLogger("skyfill.group")
_READ_BACK_SECONDS = 15.0
_LOOK_SECONDS = 1.0


class Owner(Protocol):
    """What does the work of a member's partitions. Both methods run inside `Membership.poll`."""

    def assigned(self, start: Sequence[TopicPartition]) -> None:
        """These partitions come, with the offset and metadata last committed."""

    def revoking(self, partitions: Sequence[tuple[str, int]]) -> None:
        """These go after this returns: commit or abort what concerns them, then forget them."""


class Membership:
    """Life: made (subscribes), `poll` by one thread until `close`."""

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        topic: str,
        owner: Owner,
        *,
        companions: Sequence[str] = (),
        end: Callable[[str], NoReturn] = end_process,
        metrics: GroupMetrics | None = None,
    ) -> None:
        """Subscribes to `topic`; the same partition numbers of `companions` come and go with its own.

        A companion in the subscription would be spread over the members by itself.
        """
        self.consumer: Consumer = group_consumer(kafka, group)
        self.partitions: set[int] = set()
        self.paused: Collection[tuple[str, int]] = ()
        """Partitions that the owner has told the consumer not to read at present."""
        self._group, self._topic, self._companions = group, topic, companions
        self._owner, self._end = owner, end
        self._metrics = metrics or GroupMetrics()
        self._positions: dict[tuple[str, int], int] = {}
        """As far as was noted, at least; and the ends that were reached."""
        self._ends: dict[tuple[str, int], int] = {}
        self._looked_at = 0.0
        self._closing = False
        self._place: tuple[Any, str] = (None, "")
        self._read_back_until = 4 * kafka.transaction_timeout_seconds
        self.consumer.subscribe(
            [topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, most: int, timeout: float) -> Polled:
        """Messages of the partitions held; see messaging.polling.poll."""
        polled = poll(self.consumer, most, timeout)
        self._note_place()
        self._ends |= {place: end for place, end in polled.ends.items() if place in self._positions}
        if time.monotonic() >= self._looked_at + _LOOK_SECONDS:
            self._look()
        return polled

    def _look(self) -> None:
        """Notes how far reading is behind, for whoever looks at the metrics."""
        self._looked_at = time.monotonic()
        self._metrics.held = dict.fromkeys(self._all_topics(), len(self.partitions))
        try:
            found = {place: self._lag(place) for place in self._positions}
        except KafkaException:
            found = {}  # unknown, which is no reason to end
        self._metrics.lag = {place: lag for place, lag in found.items() if lag is not None}

    def _lag(self, place: tuple[str, int]) -> int | None:
        """From what the client knows without asking the broker; None where that is nothing."""
        at = TopicPartition(*place)
        self._positions[place] = position = max(
            self._positions[place], self._ends.get(place, 0), self.consumer.position([at])[0].offset
        )
        if place in self.paused:
            return None  # what was known of its end grows old
        if self._ends.get(place) == position:
            return 0
        written = self.consumer.get_watermark_offsets(at, cached=True)[1]
        return written - position if written >= position else None

    # Only the thread that polls may ask the client: it serves one thread at a time, and a poll that is in a
    # rebalance may be waiting for the very lock that another thread holds while it asks. What was noted and
    # is out of date by now, the broker refuses.

    def consumer_group_metadata(self) -> Any:
        """The group's metadata as of the last poll or rebalance. FencedError for no member. Any thread's."""
        metadata, member_id = self._place
        if not member_id:
            raise FencedError("this process is no longer a member of its group")
        return metadata

    def memberid(self) -> str:
        """The member id as of the last poll or rebalance, empty for no member. Any thread's."""
        return self._place[1]

    def _note_place(self) -> None:
        self._place = (self.consumer.consumer_group_metadata(), self.consumer.memberid() or "")

    def close(self) -> None:
        """Leaves the group, so that others take over at once; partitions held are revoked first."""
        self._closing = True
        self.consumer.close()

    # An exception inside a rebalance callback would surface later as a SystemError, so none may leave.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._closing:  # joined just to leave; a consumer that is being closed can't read anything back
            consumer.incremental_assign([])  # or the client would assign them by itself
            return
        try:
            self._note_place()
            both = [TopicPartition(t, p.partition) for t in self._all_topics() for p in partitions]
            start = self._read_back(consumer, both)
            self._owner.assigned(start)
            consumer.incremental_assign([TopicPartition(s.topic, s.partition, s.offset) for s in start])
            self.partitions |= {p.partition for p in partitions}
            self._positions |= {(s.topic, s.partition): s.offset for s in start}
        except Exception as error:
            self._fail("taking partitions failed", error)
        if partitions:
            _log.info("%s holds %s of %s", self._group, sorted(self.partitions), self._topic)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            self._note_place()
            going = self.partitions & {p.partition for p in partitions}
            both = [(t, p) for t in self._all_topics() for p in sorted(going)]
            if both:
                self._owner.revoking(both)
            consumer.incremental_unassign([TopicPartition(*tp) for tp in both])
            self.partitions -= going
            for place in both:
                self._positions.pop(place, None)
                self._ends.pop(place, None)
        except Exception as error:
            self._fail("giving up partitions failed", error)
        if partitions:
            _log.info("%s keeps %s of %s", self._group, sorted(self.partitions), self._topic)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._end(f"{self._group} was silent for too long and lost {sorted(p.partition for p in partitions)}")

    def _fail(self, what: str, error: Exception) -> NoReturn:
        if isinstance(error, OffsetsMissing):
            end_with(error)  # starting again would not help
        if not isinstance(error, SkyfillError | KafkaException):
            _log.exception("%s", what)
        self._end(f"{what}: {error}")

    def _all_topics(self) -> list[str]:
        return [self._topic, *self._companions]

    def _read_back(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """What was committed last, waiting for a predecessor's transaction that is still undecided."""
        if not partitions:
            return []
        deadline = time.monotonic() + self._read_back_until
        while True:
            try:
                found = consumer.committed(partitions, _READ_BACK_SECONDS)
            except KafkaException as error:
                if time.monotonic() > deadline or not _undecided(error.args[0]):
                    raise
                continue
            if any(p.error for p in found):
                if time.monotonic() > deadline:
                    raise KafkaException(next(p.error for p in found if p.error))
                time.sleep(0.1)
                continue
            if missing := [p for p in found if p.offset < 0]:
                topic = missing[0].topic
                raise OffsetsMissing(
                    missing_offsets_text(
                        self._group, topic, [p.partition for p in missing if p.topic == topic]
                    )
                )
            return found


def _undecided(error: KafkaError) -> bool:
    return error.retriable() or error.code() in (
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    )
