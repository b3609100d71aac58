"""The DynamoDB sink: rows collected for a moment, written to their tables, committed when acknowledged.

A row written twice leaves the table as it was (see sinks.items.NOT_OLDER), which is what makes it exact.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from messaging import clients, topics
from messaging.exposition import expose
from messaging.metrics import new_registry
from messaging.names import Names, SinkKind
from schemas.backfill import Backfill, DynamoDBStorage
from schemas.errors import SinkError
from schemas.settings import DynamoDBSettings, Settings, SinkSettings
from sinks import tables
from sinks.base import Sink
from sinks.items import item
from sinks.loop import SinkLoop
from sinks.metrics import SinkMetrics
from sinks.rows import Row
from sinks.table_writer import Fetch, TableWriter, Write
from sinks.tenure import Tenure

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

_BLOCK_ROWS = 4000
_BLOCK_BYTES = 8 * 2**20
_BLOCK_SECONDS = 1.0
"""A block is written before Kafka is polled again; it should take about as long as a poll may wait."""


class DynamoDBSink(Sink):
    """A destination is `region/table`, or `/table` at an endpoint that is set.

    Credentials may lead to another AWS account, whose tables have the same names: a store that has its own is
    `region/table#` and a digest of their references. Should it be the same table after all, two writers fill
    it, which the conditions of all writes make harmless.
    """

    kind: SinkKind = "dynamodb"

    def __init__(
        self,
        settings: SinkSettings,
        dynamodb: DynamoDBSettings,
        topic_id: str,
        tenure: Tenure,
        stop: threading.Event,
        *,
        create_tables: bool = False,
        clock: Callable[[], float] = time.monotonic,
        connect: Callable[[DynamoDBSettings, str | None, DynamoDBStorage], DynamoDBClient] = tables.connect,
        metrics: SinkMetrics | None = None,
    ) -> None:
        """`create_tables`: make what is missing; for an embedded server only. `clock` is monotonic, in
        seconds."""
        self._metrics = metrics or SinkMetrics()
        self._metrics.watch(lambda: self._rows, lambda: self._since if self._rows else None)
        self._seconds = min(settings.flush_seconds, _BLOCK_SECONDS)
        self._dynamodb, self._topic_id = dynamodb, topic_id
        self._tenure, self._stop, self._create_tables = tenure, stop, create_tables
        self._clock, self._connect = clock, connect
        self._pool = ThreadPoolExecutor(tables.CONNECTIONS, "dynamodb")
        self._stores: dict[str, DynamoDBStorage] = {}
        """A store of each destination: all of them lead to the same table in the same way."""
        self._clients: dict[tuple[str, str], DynamoDBClient] = {}
        """By region and digest of the credentials' references."""
        self._writers: dict[str, TableWriter] = {}
        self._block: dict[str, list[tuple[Row, Write]]] = {}
        self._first: dict[tuple[int, str], int] = {}
        """(partition, destination) -> first offset in the block."""
        self._rows = self._bytes = 0
        self._since = 0.0

    def destinations(self, backfill: Backfill) -> tuple[str, ...]:
        """Tables, each once."""
        found = {
            f"{tables.home(self._dynamodb, storage.region)}/{_place(storage)}": storage
            for storage in backfill.storage
            if isinstance(storage, DynamoDBStorage)
        }
        self._stores |= found
        return tuple(found)

    def add(self, destination: str, row: Row) -> None:
        """Buffers an item; writes the block once it is large. Raises ItemTooLarge, ItemKeyInvalid."""
        write = Write(item(row, self._topic_id), Fetch(row.job, row.time_us))
        if not self._rows:
            self._since = self._clock()
        self._block.setdefault(destination, []).append((row, write))
        self._first.setdefault((row.partition, destination), row.offset)
        self._rows += 1
        self._bytes += row.size
        if self._rows >= _BLOCK_ROWS or self._bytes >= _BLOCK_BYTES:
            self._write()

    def flush_due(self) -> None:
        """Writes a block that is old enough."""
        if self._rows and self._clock() - self._since >= self._seconds:
            self._write()

    def flush(self, partitions: Collection[int]) -> None:
        """Writes the block if it holds rows of these partitions."""
        if any(self.unstored(partition) for partition in partitions):
            self._write()

    def unstored(self, partition: int) -> Mapping[str, int]:
        """See Sink."""
        return {d: first for (p, d), first in self._first.items() if p == partition}

    def forget(self, partitions: Collection[int]) -> None:
        """See Sink."""
        for destination, block in self._block.items():
            self._block[destination] = [
                (row, write) for row, write in block if row.partition not in partitions
            ]
        self._first = {key: first for key, first in self._first.items() if key[0] not in partitions}
        left = [row for block in self._block.values() for row, _ in block]
        self._rows, self._bytes = len(left), sum(row.size for row in left)
        for writer in self._writers.values():
            writer.forget()

    def close(self) -> None:
        """Ends the threads and closes the connections."""
        self._pool.shutdown(cancel_futures=True)
        for client in self._clients.values():
            client.close()

    def _write(self) -> None:
        for destination, block in self._block.items():
            with self._metrics.storing(len(block)):
                self._writer(destination).write([write for _, write in block])
        self._block.clear()
        self._first.clear()
        self._rows = self._bytes = 0

    def _writer(self, destination: str) -> TableWriter:
        if destination not in self._writers:
            region, place = destination.split("/", 1)
            table, _, credentials = place.partition("#")
            client = self._clients.get((region, credentials)) or self._connect(
                self._dynamodb, region or None, self._stores[destination]
            )
            self._clients[region, credentials] = client
            if self._create_tables:
                tables.create_table(client, table)
            elif not tables.table_exists(client, table):
                raise SinkError(f"table {table} does not exist; run `skyfill tables create {table}`")
            self._writers[destination] = TableWriter(client, table, self._pool, self._tenure, self._stop)
        return self._writers[destination]


def _place(storage: DynamoDBStorage) -> str:
    references = (storage.access_key_id, storage.secret_access_key, storage.session_token)
    if not any(references):
        return storage.table_name
    return f"{storage.table_name}#{hashlib.sha256(repr(references).encode()).hexdigest()[:12]}"


def run_dynamodb_sink(settings: Settings, stop: threading.Event, *, create_tables: bool = False) -> None:
    """Stores rows of `records` in the tables that their jobs name, until `stop` is set.

    Raises ConfigError, DeploymentError, TopicMismatch, SinkError; ends the process where it lost its place.
    """
    kafka = settings.kafka
    admin = clients.admin(kafka)
    topics.check_topics(admin, topics.topics(kafka))
    records_id = topics.topic_id(admin, Names(kafka.topic_prefix).records)
    tenure, registry = Tenure(kafka.session_timeout_seconds), new_registry()
    metrics = SinkMetrics(registry)
    sink = DynamoDBSink(
        settings.sink,
        settings.dynamodb,
        records_id,
        tenure,
        stop,
        create_tables=create_tables,
        metrics=metrics,
    )
    with expose(settings, f"sink-dynamodb-{settings.worker_slot or 0}", registry):
        SinkLoop(settings, admin, sink, tenure, records_id, metrics=metrics).run(stop)
