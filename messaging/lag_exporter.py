"""The figures of messaging.lag for Prometheus: looked up every few seconds, served until they grow old.

What may never break: an old figure is no figure. Where the broker does not answer, samples go away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from messaging.exposition import expose
from messaging.lag import Lag, LagReader
from messaging.metrics import GaugeOf, Readings, Samples, Section, new_registry
from schemas.settings import Settings

_LABELS = ("group", "topic", "partition")
_OLD_LOOKS = 6
_LEAST_OLD_SECONDS = 30.0

COMMITTED = GaugeOf(
    "skyfill_group_committed_offset",
    "The group's committed offset.",
    "All below it is done for good. It jumps when one long task that held it up finishes.",
    _LABELS,
)
END = GaugeOf(
    "skyfill_group_end_offset",
    "The offset behind the last message written.",
    "Its rate is what comes in, transaction markers included.",
    _LABELS,
)
GROUP_LAG = GaugeOf(
    "skyfill_group_lag_messages",
    "From the committed offset to the end; absent where either is unknown.",
    "For `dids`, subtract skyfill_group_finished_beyond_commit for what is really left. Growing for long: "
    "add processes of that kind; growing at one partition only: one host or one large repository.",
    _LABELS,
)
TREND = GaugeOf(
    "skyfill_group_lag_messages_per_second",
    "By how much the lag grows a second (falls: below 0), over the last minute.",
    "Above 0 for many minutes: the group does not keep up.",
    _LABELS,
)
CLEARS = GaugeOf(
    "skyfill_group_clears_in_seconds",
    "Until the lag is gone at the present trend; absent while it does not fall.",
    "Absent beside a lag above 0: at this pace it never will be.",
    _LABELS,
)
BEYOND = GaugeOf(
    "skyfill_group_finished_beyond_commit",
    "Offsets that are done and lie above the committed one; of workers only.",
    "High: one task holds up the committed offset, which costs nothing but memory.",
    _LABELS,
)
SECTION = Section(
    "Consumer groups",
    "Exported by `skyfill lag-exporter`, for all groups at once.",
    (COMMITTED, END, GROUP_LAG, TREND, CLEARS, BEYOND),
)
_READ: tuple[tuple[GaugeOf, Callable[[Lag], float | None]], ...] = (
    (COMMITTED, lambda lag: lag.committed),
    (END, lambda lag: lag.end),
    (GROUP_LAG, lambda lag: lag.lag),
    (TREND, lambda lag: lag.trend),
    (CLEARS, lambda lag: lag.clears_in),
    (BEYOND, lambda lag: lag.finished_beyond),
)
_log = logging.getLogger("skyfill.lag")


class LagMetrics:
    """Shows what was looked up last, unless that is too long ago."""

    def __init__(
        self, registry: CollectorRegistry, old: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`old`: seconds after which a look says nothing any more."""
        self._old, self._clock = old, clock
        self._lags: list[Lag] = []
        self._looked_at = 0.0
        readings = Readings(registry)
        for metric, read in _READ:
            readings.show(metric, self._samples(read))

    def show(self, lags: list[Lag]) -> None:
        """A new look."""
        self._lags, self._looked_at = lags, self._clock()

    def _samples(self, read: Callable[[Lag], float | None]) -> Callable[[], Samples]:
        def samples() -> Samples:
            if self._clock() - self._looked_at > self._old:
                return {}
            values = {(lag.group, lag.topic, str(lag.partition)): read(lag) for lag in self._lags}
            return {place: value for place, value in values.items() if value is not None}

        return samples


def run_lag_exporter(settings: Settings, stop: threading.Event, every: float) -> None:
    """Looks every so many seconds until `stop` is set. Raises TopicMismatch, DeploymentError at the start."""
    reader, registry = LagReader(settings.kafka), new_registry()
    metrics = LagMetrics(registry, max(_LEAST_OLD_SECONDS, _OLD_LOOKS * every))
    with expose(settings, "lag-exporter", registry):
        while not stop.is_set():
            lags = reader.look()
            metrics.show(lags)
            unknown = sum(lag.lag is None for lag in lags)
            if unknown:
                _log.warning("the broker does not tell where %d of %d partitions stand", unknown, len(lags))
            stop.wait(every)
