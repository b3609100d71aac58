"""The topic `deadletter` for readers: letters by their ids, or all of them from a point in time on.

Letters may hold raw blocks of megabytes, so they are handed out one at a time and never gathered here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition
from pydantic import ValidationError

from messaging import clients
from messaging.names import Names
from messaging.polling import poll
from messaging.topics import end_offsets, offsets_since
from schemas.deadletter import DeadLetter, LetterId
from schemas.errors import DeploymentError
from schemas.settings import KafkaSettings

GONE = "the broker no longer keeps it"
MISSING = "there is no such dead letter"
UNREADABLE = "this version can't read it"
_READ_ON = 2000
"""Messages that are read and passed over rather than sought across."""
_AT_ONCE = 20
"""Messages that are held at once: each may have four megabytes."""
_POLL_SECONDS = 0.5
_PATIENCE = 60.0
_log = logging.getLogger("skyfill.letters")


class Found(NamedTuple):
    """A letter that was asked for, or why there is none."""

    id: LetterId
    letter: DeadLetter | None
    why: str = ""
    """GONE, MISSING or UNREADABLE."""


class LetterReader:
    """Life: made, `named` and `since` as often as wanted, one after the other; `close`. For one thread."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connects at the first question."""
        self._topic = Names(kafka.topic_prefix).deadletter
        self._partitions = kafka.partitions.deadletter
        self._admin = clients.admin(kafka)
        self._consumer: Consumer = clients.reader(kafka)

    def named(self, ids: Iterable[LetterId]) -> Iterator[Found]:
        """Each of these once, by partition and offset: committed letters, and for the others why not.

        Raises DeploymentError if the broker does not answer.
        """
        for partition, group in groupby(sorted(set(ids)), key=lambda each: each.partition):
            if partition < self._partitions:
                yield from self._of_partition(partition, [each.offset for each in group])
            else:
                yield from (Found(each, None, MISSING) for each in group)

    def since(
        self, begin: datetime | None, onward: LetterId | None = None
    ) -> Iterator[tuple[LetterId, DeadLetter]]:
        """All letters committed by now, or those written at or after `begin`; partition by partition.

        `onward`: only those from this place on. What is no letter is passed over with a warning. Raises
        DeploymentError if the broker does not answer.
        """
        partitions = range(onward.partition if onward else 0, self._partitions)
        ends = end_offsets(self._admin, self._topic, partitions) if partitions else {}
        begins = dict.fromkeys(partitions, 0)
        if begin is not None and partitions:
            begins = offsets_since(self._admin, self._topic, partitions, begin)
        if onward is not None and partitions:
            begins[onward.partition] = max(begins[onward.partition], onward.offset)
        for partition, end in ends.items():
            for offset, value in self._from(partition, begins[partition]) if begins[partition] < end else ():
                letter_id = LetterId(partition, offset)
                if value is not None and offset < end and (letter := _decoded(letter_id, value)):
                    yield letter_id, letter
                if offset + 1 >= end:
                    break

    def close(self) -> None:
        """Leaves the topic."""
        self._consumer.close()

    def _of_partition(self, partition: int, offsets: list[int]) -> Iterator[Found]:
        """`offsets` ascend."""
        end = end_offsets(self._admin, self._topic, [partition])[partition]
        begin, _ = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), 30.0)
        gone = [offset for offset in offsets if offset < begin]
        kept = [offset for offset in offsets if begin <= offset < end]
        yield from (Found(LetterId(partition, offset), None, GONE) for offset in gone)
        yield from self._kept(partition, kept)
        yield from (Found(LetterId(partition, o), None, MISSING) for o in offsets if o >= max(begin, end))

    def _kept(self, partition: int, offsets: list[int]) -> Iterator[Found]:
        messages: Iterator[tuple[int, bytes | None]] | None = None
        at, value = -1, None
        for offset in offsets:
            if messages is None or offset - at > _READ_ON:
                messages, at = self._from(partition, offset), -1
            while at < offset:
                at, value = next(messages)
            yield self._found(LetterId(partition, offset), value, at)

    @staticmethod
    def _found(letter_id: LetterId, value: bytes | None, at: int) -> Found:
        if at > letter_id.offset:  # a marker's place, or a transaction's that came to nothing
            return Found(letter_id, None, MISSING)
        letter = _decoded(letter_id, value)
        return Found(letter_id, letter, "" if letter else UNREADABLE)

    def _from(self, partition: int, offset: int) -> Iterator[tuple[int, bytes | None]]:
        """Offset and value of what is read from an offset on; at the end of the topic, its end and None."""
        self._consumer.assign([TopicPartition(self._topic, partition, offset)])
        heard_at = time.monotonic()
        while True:
            # One is waited for, the others are there: a batch would wait until it is full, or for nothing.
            first = poll(self._consumer, 1, _POLL_SECONDS)
            rest = poll(self._consumer, _AT_ONCE - 1, 0.0)
            for message in (*first.messages, *rest.messages):
                yield message.offset, message.value
            place = self._topic, partition
            if (end := rest.ends.get(place, first.ends.get(place))) is not None:
                yield end, None
            if any(first) or any(rest):
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > _PATIENCE:
                raise DeploymentError(
                    f"{self._topic} [{partition}] could not be read from offset {offset} on"
                )


def _decoded(letter_id: LetterId, value: bytes | None) -> DeadLetter | None:
    try:
        return DeadLetter.decode(value or b"")
    except ValidationError as error:
        _log.warning("dead letter %s can't be read: %s", letter_id, error)
        return None
