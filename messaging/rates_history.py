"""How fast each job went over the last hours, for charts: points from the topic `rates`, in bounded memory.

Approximate like the topic itself. Where nothing was told there is no point: a gap is a gap, never a zero.
"""

from __future__ import annotations

import logging
import threading
import time
from array import array
from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import TopicPartition
from pydantic import ValidationError

from messaging import clients
from messaging.names import Names
from messaging.polling import Delivered, poll
from messaging.rewind import places_since
from schemas.rates import JobRates
from schemas.settings import KafkaSettings

FINE_SECONDS, COARSE_SECONDS = 10.0, 60.0
"""Between two points: of the last hour, and of what lies before it."""
FINE_FOR_SECONDS, KEPT_SECONDS = 3600.0, 86_400.0
MOST_JOBS = 200
"""Beyond, the one that was quiet for longest is forgotten."""
_BACK_SECONDS = 6 * 3600.0
"""At the start, so much of the past is read."""
_MOST_BACK = 20_000
"""Messages of one partition that are read of the past, at most."""
_AT_ONCE = 2000
_log = logging.getLogger("skyfill.rates")


class RatePoint(NamedTuple):
    """A job's pace at a moment: what the minute before it brought, per second."""

    at: float
    """Seconds since 1970."""
    records: float
    repositories: float
    bytes: float
    errors: float
    """Attempts that failed."""


_WIDTH = len(RatePoint._fields)


class RateSeries:
    """One job's points, oldest first. Some 140 KB at the most."""

    def __init__(self) -> None:
        self._fine, self._coarse = array("d"), array("d")

    @property
    def last_at(self) -> float:
        """When the latest point was; minus infinity before the first."""
        return self._fine[-_WIDTH] if self._fine else float("-inf")

    def wants(self, at: float) -> bool:
        """Whether a point of that moment would be kept: it comes late enough after the last."""
        return at >= self.last_at + FINE_SECONDS

    def add(self, point: RatePoint) -> None:
        """Keeps a point that is wanted, and lets go of what has grown too old beside it."""
        if not self.wants(point.at):
            return
        self._fine.extend(point)
        if not self._coarse or point.at >= self._coarse[-_WIDTH] + COARSE_SECONDS:
            self._coarse.extend(point)
        _drop_before(self._fine, point.at - FINE_FOR_SECONDS)
        _drop_before(self._coarse, point.at - KEPT_SECONDS)

    def points(self, since: float | None = None) -> list[RatePoint]:
        """All points later than `since`."""
        begin = self._fine[0] if self._fine else float("inf")
        found = [point for point in _points(self._coarse) if point.at < begin] + _points(self._fine)
        return found if since is None else [point for point in found if point.at > since]


class RatesHistory:
    """Life: made, `refresh` now and then by one thread, asked by any; `close`."""

    def __init__(self, kafka: KafkaSettings, *, clock: Callable[[], float] = time.time) -> None:
        """Connects, and reads nothing yet: the past comes with the first calls of `refresh`."""
        topic = Names(kafka.topic_prefix).rates
        places = places_since(clients.admin(kafka), topic, _BACK_SECONDS, _MOST_BACK)
        self._consumer = clients.reader(kafka)
        self._consumer.assign([TopicPartition(topic, at, offset) for at, offset in places.items()])
        self._unread = set(places)
        self._clock = clock
        self._lock = threading.Lock()
        self._series: dict[str, RateSeries] = {}

    @property
    def read_back(self) -> bool:
        """Whether the past was read to its end."""
        return not self._unread

    def refresh(self, timeout: float = 0.0) -> None:
        """Takes in some of what has come, waiting up to `timeout` seconds for something. It may leave more
        for the next call, so that nobody who shares the thread waits for hours of the past."""
        polled = poll(self._consumer, _AT_ONCE, timeout)
        with self._lock:
            for message in polled.messages:
                self._take(message)
        self._unread -= {partition for _, partition in polled.ends}

    def of(self, job_id: str, since: float | None = None) -> list[RatePoint]:
        """A job's points later than `since` (seconds since 1970), oldest first."""
        with self._lock:
            series = self._series.get(job_id)
            return [] if series is None else series.points(since)

    def close(self) -> None:
        """Leaves the topic."""
        self._consumer.close()

    def _take(self, message: Delivered) -> None:
        # The broker's clock says when it was written: most messages need not be read at all.
        at, series = message.timestamp / 1000, self._series.get(message.key)
        if series is not None and not series.wants(at):
            return
        try:
            rates = JobRates.decode(message.value or b"")
        except ValidationError:
            _log.debug("%s [%d] offset %d are no rates", message.topic, message.partition, message.offset)
            return
        if rates.job_id != message.key or not rates.windows or at > self._clock() + FINE_SECONDS:
            return
        window = rates.windows[0]
        errors = sum(window.errors.values()) / window.covered_seconds if window.covered_seconds else 0.0
        point = RatePoint(
            at,
            window.records_per_second,
            window.repositories_per_second,
            window.bytes_per_second,
            round(errors, 3),
        )
        self._of(message.key).add(point)

    def _of(self, job_id: str) -> RateSeries:
        if job_id not in self._series and len(self._series) >= MOST_JOBS:
            del self._series[min(self._series, key=lambda job: self._series[job].last_at)]
        return self._series.setdefault(job_id, RateSeries())


def _drop_before(rows: array[float], at: float) -> None:
    place = 0
    while place < len(rows) and rows[place] < at:
        place += _WIDTH
    del rows[:place]


def _points(rows: array[float]) -> list[RatePoint]:
    return [RatePoint(*rows[place : place + _WIDTH]) for place in range(0, len(rows), _WIDTH)]
