"""Tasks of a topic and its retry companion, handed out once each, finished in any order.

One lock keeps delivery, publication, commit and rebalance apart: whoever publishes or commits holds it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from confluent_kafka import TopicPartition

from messaging.instruments import GroupMetrics
from messaging.membership import Membership
from messaging.window import LIMIT, OffsetWindow
from schemas.settings import KafkaSettings

_BATCH = 500


class Task(NamedTuple):
    """A message to be worked on. `epoch` tells one holding of its partition from the next."""

    topic: str
    partition: int
    offset: int
    epoch: int
    key: str
    value: bytes


class InFlight(NamedTuple):
    """What is handed out, at one moment."""

    tasks: int
    beyond_commit: int
    """Offsets that are finished and lie above the committed one."""
    oldest_since: float | None
    """When the oldest unfinished task was handed out, by the monotonic clock; None: there is none."""
    full: int
    """Partitions that are not read on until older tasks finish."""


class TaskStream:
    """Life: `poll` by one thread; `held`, `finish`, `offsets`, `mark_committed` under `lock`; `close`."""

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        topic: str,
        companion: str,
        *,
        lock: threading.RLock,
        before_revoke: Callable[[Sequence[tuple[str, int]]], None],
        window_limit: int = LIMIT,
        metrics: GroupMetrics | None = None,
    ) -> None:
        """`before_revoke` is told what goes and commits what is open, under `lock`, all still held."""
        self._lock = lock
        self._before_revoke = before_revoke
        self._limit = window_limit
        self._windows: dict[tuple[str, int], OffsetWindow] = {}
        self._epochs: dict[tuple[str, int], int] = {}
        self._epoch = 0
        self._paused: set[tuple[str, int]] = set()
        self._arrivals: dict[tuple[str, int], deque[tuple[int, float]]] = {}
        """The first offset of each batch that may have open tasks, and when it came."""
        self.membership = Membership(kafka, group, topic, self, companions=[companion], metrics=metrics)

    def poll(self, timeout: float) -> list[Task]:
        """New tasks; waits up to `timeout` seconds for the first."""
        polled = self.membership.poll(_BATCH, timeout)
        with self._lock:
            tasks = []
            for message in polled.messages:
                place = (message.topic, message.partition)
                window = self._windows.get(place)
                if window is not None and window.deliver(message.offset):
                    tasks.append(
                        Task(*place, message.offset, self._epochs[place], message.key, message.value or b"")
                    )
            for place, position in polled.ends.items():
                if place in self._windows:
                    self._windows[place].reached(position)
            self._note_arrivals(tasks)
            self._pace()
        return tasks

    def held(self, task: Task) -> bool:
        """Whether the task's partition has been held without interruption since the task was handed out."""
        return self._epochs.get((task.topic, task.partition)) == task.epoch

    def finish(self, task: Task) -> None:
        """The task is done, with what was published for it in the open transaction."""
        self._windows[task.topic, task.partition].finish(task.offset)

    def offsets(self) -> list[TopicPartition]:
        """What to commit: of each window that changed, the lowest unfinished offset and the bitmap."""
        return [
            TopicPartition(*place, window.committed, window.metadata())
            for place, window in self._windows.items()
            if window.changed
        ]

    def mark_committed(self, offsets: Sequence[TopicPartition]) -> None:
        """What `offsets` returned is now the broker's."""
        for offset in offsets:
            self._windows[offset.topic, offset.partition].mark_committed()

    def in_flight(self) -> InFlight:
        """What is handed out now; for the thread that polls."""
        with self._lock:
            oldest = []
            for place, window in self._windows.items():
                batches = self._arrivals[place]
                while len(batches) > 1 and batches[1][0] <= window.committed:
                    batches.popleft()
                if window.in_flight:
                    oldest.append(batches[0][1])
            tasks = sum(window.in_flight for window in self._windows.values())
            beyond = sum(window.span for window in self._windows.values()) - tasks
            return InFlight(tasks, beyond, min(oldest, default=None), len(self._paused))

    def full(self, topic: str) -> set[int]:
        """Partitions of `topic` that are not read on until older tasks finish."""
        return {partition for name, partition in self._paused if name == topic}

    def close(self) -> None:
        """Leaves the group."""
        self.membership.close()

    def assigned(self, start: Sequence[TopicPartition]) -> None:
        """See messaging.membership.Owner."""
        with self._lock:
            self._epoch += 1
            for at in start:
                self._windows[at.topic, at.partition] = OffsetWindow(at.offset, at.metadata or "")
                self._epochs[at.topic, at.partition] = self._epoch
                self._arrivals[at.topic, at.partition] = deque()

    def revoking(self, partitions: Sequence[tuple[str, int]]) -> None:
        """See messaging.membership.Owner."""
        with self._lock:
            self._before_revoke(partitions)
            if paused := self._paused.intersection(partitions):
                # The client would keep it in mind: the partition would come back paused, and stay so.
                self.membership.consumer.resume([TopicPartition(*place) for place in paused])
            for place in partitions:
                self._windows.pop(place, None)
                self._epochs.pop(place, None)
                self._arrivals.pop(place, None)
                self._paused.discard(place)

    def _note_arrivals(self, tasks: Sequence[Task]) -> None:
        now, seen = time.monotonic(), set()
        for task in tasks:
            place = (task.topic, task.partition)
            if place not in seen:
                seen.add(place)
                self._arrivals[place].append((task.offset, now))

    def _pace(self) -> None:
        full = {place for place, window in self._windows.items() if window.span >= self._limit}
        consumer = self.membership.consumer
        if pause := full - self._paused:
            consumer.pause([TopicPartition(*place) for place in pause])
        if resume := self._paused - full:
            consumer.resume([TopicPartition(*place) for place in resume])
        self._paused = self.membership.paused = full
