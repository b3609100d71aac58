"""How far every consumer group is behind what it reads: committed offsets against what was written.

What may never break: what could not be learnt is None, never 0. A committed offset may be held up by one long
task while all behind it is done, so what is finished beyond the commit stands beside the lag.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeVar

from confluent_kafka import TopicPartition

from messaging import clients
from messaging.names import Names
from messaging.topics import check_topics, committed_places, end_offsets, topics
from messaging.window import finished_in
from schemas.errors import DeploymentError
from schemas.settings import KafkaSettings

T = TypeVar("T")
TREND_SECONDS = 60.0
"""Over how long the trend is taken."""
_PATIENCE_SECONDS = 5.0
_MOST_UNANSWERED = 2
"""In one look: where one group's coordinator is away, the others still answer."""


@dataclass(frozen=True)
class Lag:
    """Of one partition, or of all of a topic's together. None: not known."""

    group: str
    topic: str
    partition: int | None
    """None: of the whole topic."""
    committed: int | None
    end: int | None
    """The offset behind the last message written, committed or not."""
    finished_beyond: int | None
    """Offsets that are done and lie above the committed one. Only workers finish out of order."""
    trend: float | None
    """Messages a second by which the lag grows (above 0) or falls (below 0)."""
    unknown: int = 0
    """Partitions of which nothing is known; the sums are of the others."""

    @property
    def lag(self) -> int | None:
        """Messages from the committed offset to the end, transaction markers included."""
        if self.committed is None or self.end is None:
            return None
        return max(0, self.end - self.committed)

    @property
    def clears_in(self) -> float | None:
        """Seconds until nothing is left at the present trend; None if that is unknown, or if it grows."""
        if self.unknown:
            return None
        if self.lag == 0:
            return 0.0
        if self.lag is None or self.trend is None or self.trend >= 0:
            return None
        return self.lag / -self.trend


class LagReader:
    """Life: made, `look` every few seconds: the trend comes with the second look. For one thread."""

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        """`patience` is for each answer of the broker, in seconds. Raises TopicMismatch."""
        self._admin = clients.admin(kafka)
        wanted = topics(kafka)
        check_topics(self._admin, wanted)
        self._counts = {topic.name: topic.partitions for topic in wanted}
        names = Names(kafka.topic_prefix)
        self._groups, self._out_of_order = names.groups(), names.worker_group
        self._clock, self._patience = clock, patience
        self._past: dict[tuple[str, str, int], deque[tuple[float, int]]] = {}
        self._unanswered = 0

    def look(self) -> list[Lag]:
        """Every partition of every group, in a fixed order. What the broker does not tell in time is None."""
        found = []
        self._unanswered = 0
        for group, read in self._groups.items():
            for topic in read:
                # In this order: an end asked for first could lie below what is committed a moment later.
                committed = self._committed(group, topic)
                ends = self._ends(topic)
                found += [
                    self._lag(group, topic, partition, committed.get(partition), ends.get(partition))
                    for partition in range(self._counts[topic])
                ]
        return found

    def _committed(self, group: str, topic: str) -> dict[int, TopicPartition]:
        partitions = range(self._counts[topic])
        return self._ask(
            lambda: committed_places(self._admin, group, topic, partitions, patience=self._patience)
        )

    def _ends(self, topic: str) -> dict[int, int]:
        partitions = range(self._counts[topic])
        return self._ask(
            lambda: end_offsets(self._admin, topic, partitions, committed=False, patience=self._patience)
        )

    def _ask(self, question: Callable[[], dict[int, T]]) -> dict[int, T]:
        """Nothing where the broker does not answer, and no further question once it has been silent twice."""
        if self._unanswered >= _MOST_UNANSWERED:
            return {}
        try:
            return question()
        except DeploymentError:
            self._unanswered += 1
            return {}

    def _lag(
        self, group: str, topic: str, partition: int, committed: TopicPartition | None, end: int | None
    ) -> Lag:
        offset = beyond = None
        if committed is not None:
            offset = committed.offset
            beyond = finished_in(committed.metadata or "") if group == self._out_of_order else None
        lag = Lag(group, topic, partition, offset, end, beyond, None)
        return replace(lag, trend=self._trend((group, topic, partition), lag.lag))

    def _trend(self, place: tuple[str, str, int], lag: int | None) -> float | None:
        """From the oldest look within the last minute to this one."""
        if lag is None:
            return None
        now = self._clock()
        past = self._past.setdefault(place, deque())
        past.append((now, lag))
        while now - past[0][0] > TREND_SECONDS:
            past.popleft()
        since, before = past[0]
        seconds = now - since
        return (lag - before) / seconds if seconds > 0 else None


def by_topic(lags: Iterable[Lag]) -> list[Lag]:
    """The partitions of each group's topics, added up."""
    return [
        _sum(group, topic, list(parts))
        for (group, topic), parts in groupby(lags, key=lambda lag: (lag.group, lag.topic))
    ]


def _sum(group: str, topic: str, parts: list[Lag]) -> Lag:
    known = [part for part in parts if part.lag is not None]
    beyond = [part.finished_beyond for part in known if part.finished_beyond is not None]
    trends = [part.trend for part in known if part.trend is not None]
    return Lag(
        group,
        topic,
        None,
        sum(part.committed or 0 for part in known) if known else None,
        sum(part.end or 0 for part in known) if known else None,
        sum(beyond) if beyond else None,
        sum(trends) if trends and len(trends) == len(known) else None,
        len(parts) - len(known),
    )
