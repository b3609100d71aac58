"""The API's own figures."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from messaging.metrics import CounterOf, GaugeOf, HistogramOf, Readings, Section

REQUESTS = CounterOf(
    "skyfill_api_requests_total",
    "Answers by operation and class of status.",
    "`5xx` means that Kafka did not answer (503) or that something is broken (the log says what). Many `4xx` "
    "of one operation: a client that is out of date; of `unknown`: somebody who looks around.",
    ("operation", "status"),
)
SECONDS = HistogramOf(
    "skyfill_api_request_seconds",
    "From a request's first byte to its answer's last; of event streams, as long as they were open.",
    "A rise over all operations shows a slow broker: answers wait until all that was committed is read.",
    ("operation",),
)
STREAMS = GaugeOf(
    "skyfill_api_streams",
    "Event streams that are open.",
    "At 200 no further one is taken.",
)
SECTION = Section("API", "Exported by `skyfill api`.", (REQUESTS, SECONDS, STREAMS))


class ApiMetrics:
    """What one process counts. Operations are those of the OpenAPI document, so the labels are bounded."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._requests, self._seconds = REQUESTS.make(registry), SECONDS.make(registry)
        self._readings = Readings(registry)

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """One more answer."""
        self._requests.labels(operation, f"{status // 100}xx").inc()
        self._seconds.labels(operation).observe(seconds)

    def watch_streams(self, count: Callable[[], int]) -> None:
        """`count` tells how many are open."""
        self._readings.show_value(STREAMS, count)
