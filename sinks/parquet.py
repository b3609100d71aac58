"""The Parquet sink: rows collected per folder and partition, published as chains of files.

What is stored is decided by the folder alone (see sinks.chain); this class only decides when to write.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pyarrow as pa

from messaging import clients, topics
from messaging.exposition import expose
from messaging.metrics import new_registry
from messaging.names import Names, SinkKind
from schemas.backfill import Backfill, ParquetStorage
from schemas.settings import Settings, SinkSettings
from sinks import arrow_rows
from sinks.base import Sink
from sinks.chain import Chain, Stream
from sinks.loop import SinkLoop
from sinks.metrics import SinkMetrics
from sinks.reports import Reports
from sinks.rows import Row
from sinks.tenure import Tenure

_PACK_ROWS = 1000
_CHAINS = 4096
"""Chains whose end is remembered; an idle one beyond this is found again by listing its folder."""
_log = logging.getLogger("skyfill.sink")


class Buffer:
    """Rows of one partition for one folder, not stored yet."""

    def __init__(self, chain: Chain, since: float) -> None:
        self.chain = chain
        self.since = since
        """When the first of the rows came."""
        self.rows = 0
        self.bytes = 0
        self.first = -1
        self._loose: list[Row] = []
        self._packed: list[pa.RecordBatch] = []

    def add(self, row: Row, now: float) -> None:
        """Rows come in the order of offsets."""
        if not self.rows:
            self.first, self.since = row.offset, now
        self.rows += 1
        self.bytes += row.size
        self._loose.append(row)
        if len(self._loose) >= _PACK_ROWS:
            self._pack()

    def publish(self) -> None:
        """Stores all rows and is empty afterwards."""
        self._pack()
        stored = self.chain.publish(pa.Table.from_batches(self._packed, arrow_rows.SCHEMA))
        _log.debug("stored %d of %d rows", stored, self.rows)
        self.rows = self.bytes = 0
        self._packed.clear()

    def _pack(self) -> None:
        if self._loose:
            self._packed.append(arrow_rows.batch(self._loose))
            self._loose.clear()


class ParquetSink(Sink):
    """A destination is the real path of a folder."""

    kind: SinkKind = "parquet"

    def __init__(
        self,
        settings: SinkSettings,
        cluster_id: str,
        topic_id: str,
        tenure: Tenure,
        *,
        clock: Callable[[], float] = time.monotonic,
        open_chain: Callable[[Path, Stream], Chain] = Chain,
        metrics: SinkMetrics | None = None,
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._metrics = metrics or SinkMetrics()
        self._metrics.watch(self._buffered_rows, self._oldest)
        self._settings = settings
        self._cluster_id, self._topic_id = cluster_id, topic_id
        self._tenure, self._clock, self._open_chain = tenure, clock, open_chain
        self._buffers: dict[tuple[int, str], Buffer] = {}
        self._bytes = 0

    def destinations(self, backfill: Backfill) -> tuple[str, ...]:
        """Real paths: two spellings of one folder are one chain."""
        paths = [storage.path for storage in backfill.storage if isinstance(storage, ParquetStorage)]
        return tuple(dict.fromkeys(os.path.realpath(path) for path in paths))

    def add(self, destination: str, row: Row) -> None:
        """Buffers a row that the chain lacks; stores the buffer once it holds a whole file."""
        key = (row.partition, destination)
        buffer = self._buffers.get(key)
        if buffer is None:
            buffer = self._buffers[key] = self._open(*key)
        if row.offset <= buffer.chain.end:
            return
        buffer.add(row, self._clock())
        self._bytes += row.size
        if buffer.rows >= self._settings.flush_rows or buffer.bytes >= self._settings.flush_bytes:
            self._publish(buffer)
        elif self._bytes >= self._settings.buffer_bytes:
            self._publish(max(self._buffers.values(), key=lambda each: each.bytes))

    def flush_due(self) -> None:
        """Stores what is old enough; size is seen to by `add`."""
        oldest = self._clock() - self._settings.flush_seconds
        for buffer in self._buffers.values():
            if buffer.rows and buffer.since <= oldest:
                self._publish(buffer)

    def flush(self, partitions: Collection[int]) -> None:
        """Stores all rows of these partitions."""
        for (partition, _), buffer in self._buffers.items():
            if buffer.rows and partition in partitions:
                self._publish(buffer)

    def unstored(self, partition: int) -> Mapping[str, int]:
        """See Sink."""
        return {d: b.first for (p, d), b in self._buffers.items() if p == partition and b.rows}

    def forget(self, partitions: Collection[int]) -> None:
        """See Sink."""
        for key in [key for key in self._buffers if key[0] in partitions]:
            self._bytes -= self._buffers.pop(key).bytes

    def close(self) -> None:
        """Nothing is held open between files."""

    def _open(self, partition: int, destination: str) -> Buffer:
        if len(self._buffers) >= _CHAINS:
            self._buffers = {key: buffer for key, buffer in self._buffers.items() if buffer.rows}
        self._tenure.check()
        stream = Stream(self._cluster_id, self._topic_id, partition)
        return Buffer(self._open_chain(Path(destination), stream), self._clock())

    def _publish(self, buffer: Buffer) -> None:
        # The chain bears a second owner, but not one that publishes into a folder whose files were moved
        # away since it stood still.
        self._tenure.check()
        self._bytes -= buffer.bytes
        with self._metrics.storing(buffer.rows):
            buffer.publish()

    def _buffered_rows(self) -> int:
        return sum(buffer.rows for buffer in list(self._buffers.values()))

    def _oldest(self) -> float | None:
        return min((buffer.since for buffer in list(self._buffers.values()) if buffer.rows), default=None)


def run_parquet_sink(settings: Settings, stop: threading.Event) -> None:
    """Stores rows of `records` in the folders that their jobs name, until `stop` is set.

    Raises ConfigError, DeploymentError, TopicMismatch, SinkError; ends the process where it lost its place.
    """
    kafka = settings.kafka
    admin = clients.admin(kafka)
    topics.check_topics(admin, topics.topics(kafka))
    records_id = topics.topic_id(admin, Names(kafka.topic_prefix).records)
    cluster_id = admin.describe_cluster().result(30).cluster_id
    tenure, registry = Tenure(kafka.session_timeout_seconds), new_registry()
    metrics = SinkMetrics(registry)
    sink = ParquetSink(settings.sink, cluster_id, records_id, tenure, metrics=metrics)
    with expose(settings, f"sink-parquet-{settings.worker_slot or 0}", registry):
        loop = SinkLoop(settings, admin, sink, tenure, records_id, metrics=metrics)
        reports = Reports(kafka, lambda spec: sink.destinations(spec.backfill), loop.holds)
        reports.begin()
        try:
            loop.run(stop)
        finally:
            reports.finish()
