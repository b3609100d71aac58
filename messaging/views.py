"""A compacted topic kept as a dictionary: the latest message of each key, read committed.

A view is current when its position has passed the end that was there when the question was asked; counting
messages would never get there, since transaction markers occupy offsets too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError

from messaging import clients
from messaging.polling import poll
from messaging.topics import end_offsets
from schemas.errors import DeploymentError
from schemas.message import Message
from schemas.settings import KafkaSettings

M = TypeVar("M", bound=Message)


class CompactedView(Generic[M]):
    """Life: made, `catch_up` once, then `poll` now and then and read `items`; `close`. For one thread."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        decode: Callable[[bytes], M],
        partitions: Iterable[int] | None = None,
    ) -> None:
        """A view of all partitions of `topic`, or of those given."""
        self._admin: AdminClient = clients.admin(kafka)
        self._consumer: Consumer = clients.reader(kafka)
        self._topic = topic
        self._decode = decode
        if partitions is None:
            partitions = self._admin.list_topics(topic, timeout=30).topics[topic].partitions
        self._positions = dict.fromkeys(partitions, 0)
        self._consumer.assign([TopicPartition(topic, p, 0) for p in self._positions])
        self.items: dict[str, M] = {}

    def poll(self, timeout: float = 0.0) -> set[str]:
        """Takes in what has come, waiting up to `timeout` seconds for something; returns the changed keys."""
        changed: set[str] = set()
        while any(polled := poll(self._consumer, 1000, timeout)):
            for message in polled.messages:
                self._positions[message.partition] = message.offset + 1
                self._take(message.key, message.value)
                changed.add(message.key)
            for (_, partition), position in polled.ends.items():
                self._positions[partition] = max(self._positions[partition], position)
            timeout = 0.0
        return changed

    def catch_up(self, timeout: float = 120.0) -> None:
        """Reads to the end of all that is written now, waiting for transactions that are still open.

        The end of what is *committed* would not do: the marker of a transaction may reach its offsets'
        partition before it reaches this one. Raises DeploymentError after `timeout` seconds.
        """
        ends = end_offsets(self._admin, self._topic, self._positions, committed=False)
        deadline = time.monotonic() + timeout
        while behind := [p for p, end in ends.items() if self._positions[p] < end]:
            if time.monotonic() > deadline:
                raise DeploymentError(
                    f"{self._topic} {behind} could not be read to its end within {timeout:.0f} s; "
                    f"look for a process that was stopped with an open transaction"
                )
            self.poll(0.1)

    def close(self) -> None:
        """Leaves the topic."""
        self._consumer.close()

    def _take(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.items.pop(key, None)
            return
        try:
            self.items[key] = self._decode(value)
        except ValidationError as error:
            raise DeploymentError(
                f"{self._topic} holds a message for {key!r} that this version can't read: {error}"
            ) from error
