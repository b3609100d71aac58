"""What a sink can be asked while it works: what it has read, what waits in memory, how long storing takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from messaging.instruments import GroupMetrics, TransactionMetrics
from messaging.metrics import COUNTS, CounterOf, GaugeOf, HistogramOf, Readings, Section

ROWS = CounterOf(
    "skyfill_sink_rows_total",
    "Rows read from `records`, and rows stored; a row counts once for each destination.",
    "After a crash rows are read again, so both may count more than there are. Reading beside no storing: "
    "the store refuses or throttles.",
    ("what",),
)
LETTERS = CounterOf(
    "skyfill_sink_dead_letters_total",
    "Messages that no store can take, each with its reason in `deadletter`.",
    "Something else writes into `records`, or a record is too large for the store.",
)
BUFFERED = GaugeOf(
    "skyfill_sink_buffered_rows",
    "Rows in memory, not stored yet.",
    "They come again after a crash. Bounded by sink.buffer_bytes; a standstill: nothing is due, or the store "
    "does not answer.",
)
OLDEST = GaugeOf(
    "skyfill_sink_oldest_buffered_seconds",
    "Since when rows have been waiting in memory; absent while there are none.",
    "Beyond sink.flush_seconds: the store is slow.",
)
FLUSH_ROWS = HistogramOf(
    "skyfill_sink_batch_rows",
    "Rows that were stored at once: of a Parquet file, or of a block of DynamoDB items.",
    "Many small files: lower the number of partitions or raise sink.flush_seconds.",
    buckets=COUNTS,
)
FLUSH_SECONDS = HistogramOf(
    "skyfill_sink_flush_seconds",
    "Time that storing them took.",
    "The store's own speed: disk, or the table's capacity. Kafka is not polled meanwhile.",
)
SECTION = Section(
    "Sinks",
    "Exported by `skyfill sink parquet` and `skyfill sink dynamodb`.",
    (ROWS, LETTERS, BUFFERED, OLDEST, FLUSH_ROWS, FLUSH_SECONDS),
)


class SinkMetrics:
    """Of one sink."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.transactions = TransactionMetrics(registry)
        self.group = GroupMetrics(registry)
        rows = ROWS.make(registry)
        self._read, self._stored = rows.labels("read"), rows.labels("stored")
        self._letters = LETTERS.make(registry)
        self._flush_rows = FLUSH_ROWS.make(registry)
        self._flush_seconds = FLUSH_SECONDS.make(registry)
        self._readings = Readings(registry)

    def watch(self, rows: Callable[[], int], since: Callable[[], float | None]) -> None:
        """Rows in memory, and since when by the monotonic clock; both asked at every scrape, from another
        thread."""

        def age() -> float | None:
            began = since()
            return None if began is None else time.monotonic() - began

        self._readings.show_value(BUFFERED, rows)
        self._readings.show_value(OLDEST, age)

    def read(self, rows: int) -> None:
        """So many more rows were taken."""
        self._read.inc(rows)

    def buried(self, letters: int) -> None:
        """So many dead letters."""
        self._letters.inc(letters)

    @contextmanager
    def storing(self, rows: int) -> Iterator[None]:
        """Times the storing of `rows`; what fails is not counted."""
        began = time.monotonic()
        yield
        self._flush_seconds.observe(time.monotonic() - began)
        self._flush_rows.observe(rows)
        self._stored.inc(rows)
