"""What a notifier can be asked while it works."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from messaging.metrics import CounterOf, GaugeOf, Readings, Section

ATTEMPTS = CounterOf(
    "skyfill_notices_total",
    "Attempts to tell somebody of a job, by how they ended: `delivered`, `failed` and tried again, or "
    "`given_up`; those in the log included.",
    "`given_up`: somebody was not told; the log says why. `failed` that grows alone: a receiver is down, or "
    "refuses the signature.",
    ("result",),
)
PENDING = GaugeOf(
    "skyfill_notices_pending",
    "Notices of this notifier's jobs that are still to be delivered.",
    "Above 0 for long: see skyfill_notices_total for failures. Each is given up after a day.",
)
OLDEST = GaugeOf(
    "skyfill_notices_oldest_seconds",
    "Since the oldest pending notice's event; absent while none is pending.",
    "Minutes: a receiver is down. With many pending, all of one receiver: they go to it one at a time.",
)
SECTION = Section("Notifier", "Exported by `skyfill notifier`.", (ATTEMPTS, PENDING, OLDEST))


class NotifierMetrics:
    """Of one notifier."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._attempts = ATTEMPTS.make(registry)
        self._readings = Readings(registry)

    def watch(self, pending: Callable[[], int], oldest: Callable[[], float | None]) -> None:
        """Asked at every scrape, from another thread."""
        self._readings.show_value(PENDING, pending)
        self._readings.show_value(OLDEST, oldest)

    def ended(self, result: str) -> None:
        """An attempt: delivered, failed, given_up."""
        self._attempts.labels(result).inc()
