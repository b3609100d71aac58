"""The frame of all metrics: each is declared once, with its unit, its labels and what it tells.

What may never break: a scrape neither raises nor waits for work in progress, and what is not known has no
sample; it is never shown as 0. Labels are few and bounded: no host, DID or job is ever one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

PREFIX = "skyfill_"
SHORT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Buckets for requests, transactions and flushes."""
LONG_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
"""Buckets for whole repositories and plans."""
COUNTS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
"""Buckets for rows, tasks and messages."""
_log = logging.getLogger("skyfill.metrics")

Samples = Mapping[tuple[str, ...], float]
"""Values of the labels, in their order -> value. Without labels the one key is `()`; unknown: no key."""


@dataclass(frozen=True)
class Declared:
    """A metric. `tells`: what a spike or a standstill means, and what to do."""

    name: str
    help: str
    tells: str
    labels: tuple[str, ...] = ()
    kind: ClassVar[str]

    def __post_init__(self) -> None:
        if not self.name.startswith(PREFIX):
            raise ValueError(f"metric {self.name} has to begin with {PREFIX}")


@dataclass(frozen=True)
class CounterOf(Declared):
    """A number that only grows while the process lives. Its name ends in `_total`."""

    kind: ClassVar[str] = "counter"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name.endswith("_total"):
            raise ValueError(f"counter {self.name} has to end in _total")

    def make(self, registry: CollectorRegistry | None) -> Counter:
        """The instrument, shown in `registry`; with None it counts for nobody."""
        return Counter(self.name, self.help, self.labels, registry=registry)


@dataclass(frozen=True)
class GaugeOf(Declared):
    """A number that rises and falls."""

    kind: ClassVar[str] = "gauge"

    def make(self, registry: CollectorRegistry | None) -> Gauge:
        """The instrument, shown in `registry`; with None it is set for nobody."""
        return Gauge(self.name, self.help, self.labels, registry=registry)


@dataclass(frozen=True)
class HistogramOf(Declared):
    """How a quantity is distributed, in `buckets` (upper bounds, in the unit of the name)."""

    kind: ClassVar[str] = "histogram"
    buckets: tuple[float, ...] = field(default=SHORT_SECONDS, kw_only=True)

    def make(self, registry: CollectorRegistry | None) -> Histogram:
        """The instrument, shown in `registry`; with None it observes for nobody."""
        return Histogram(self.name, self.help, self.labels, registry=registry, buckets=self.buckets)


@dataclass(frozen=True)
class Section:
    """Metrics that are exported together, e.g. by every fetch worker."""

    title: str
    about: str
    """Which processes export them, as a sentence."""
    metrics: tuple[Declared, ...]


class Readings:
    """A collector of what is only known when somebody looks: values are read at scrape time.

    Reading happens in the metrics server's thread: it takes no lock that is held for long, and changes
    nothing. Where it fails, the metric has no samples in this scrape.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        """Nothing is shown before `show`; with None, never."""
        self._shown: list[tuple[GaugeOf | CounterOf, Callable[[], Samples]]] = []
        if registry is not None:
            registry.register(self)

    def show(self, metric: GaugeOf | CounterOf, read: Callable[[], Samples]) -> None:
        """From now on `read` is called at every scrape, in another thread."""
        self._shown.append((metric, read))

    def show_value(self, metric: GaugeOf | CounterOf, read: Callable[[], float | None]) -> None:
        """The same for a metric without labels; None: not known."""
        self.show(metric, lambda: {} if (value := read()) is None else {(): value})

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks at a scrape."""
        for metric, read in list(self._shown):
            family = _family(metric)
            try:
                for labels, value in read().items():
                    family.add_metric(labels, value)
            except Exception as error:
                # Read without a lock, a structure may change meanwhile; the next scrape has it again.
                _log.debug("%s could not be read: %s", metric.name, error)
                family = _family(metric)
            yield family

    def describe(self) -> list[Metric]:
        """Names for the registry, without reading anything."""
        return [_family(metric) for metric, _ in self._shown]


def new_registry() -> CollectorRegistry:
    """A process's registry, with its CPU time, memory, open files and Python version."""
    # Else a second series stands beside each counter, which nobody asks for.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def _family(metric: Declared) -> GaugeMetricFamily | CounterMetricFamily:
    family = CounterMetricFamily if isinstance(metric, CounterOf) else GaugeMetricFamily
    return family(metric.name, metric.help, labels=metric.labels)
