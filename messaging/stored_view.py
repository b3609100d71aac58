"""A compacted topic kept in a file: the latest message of each key, read committed, for more keys than memory
holds and for longer than a process lives.

Rows and the positions they were read up to change in one transaction of SQLite: killed at any moment, the
view goes on where it stands. What can't be gone on from is thrown away and read anew, never patched up.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from confluent_kafka import TopicPartition
from pydantic import ValidationError

from messaging import clients
from messaging.polling import Polled, poll
from messaging.topics import end_offsets, topic_id
from schemas.errors import DeploymentError
from schemas.message import Message
from schemas.settings import KafkaSettings

M = TypeVar("M", bound=Message)
_log = logging.getLogger("skyfill.views")
_BATCH = 5000
_POLL_SECONDS = 0.1
_CACHE_KIB = 64 * 1024
_LOCK_SECONDS = 5.0
_TOMBSTONES_SECONDS = 24 * 3600.0
"""Kafka's default delete.retention.ms: a deletion may be forgotten so long after it was written."""
# A table with rows apart from its index: values are appended, only the index is written all over the place.
_TABLES = """
CREATE TABLE IF NOT EXISTS latest (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS positions (partition INTEGER PRIMARY KEY, position INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class StoredView(Generic[M]):
    """Life: made, `advance` until it is true, then `get`; `close`. For one thread, and one process a file."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        decode: Callable[[bytes], M],
        file: Path,
        *,
        tombstones_seconds: float = _TOMBSTONES_SECONDS,
        batch: int = _BATCH,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`tombstones_seconds`: the topic's delete.retention.ms; a view that was at its end longer ago may
        have missed deletions and begins anew. `batch`: messages a transaction. `clock` in seconds since 1970.

        Raises DeploymentError where the file can't be used.
        """
        self._topic, self._decode, self._file = topic, decode, file
        self._tombstones_seconds, self._batch, self._clock = tombstones_seconds, batch, clock
        self._admin, self._consumer = clients.admin(kafka), clients.reader(kafka)
        self._ends: dict[int, int] | None = None
        with self._errors():
            self._rows = self._open()
        self._positions: dict[int, int] = {}
        self._assigned = False

    def advance(self, seconds: float) -> bool:
        """Reads on for about so long. True: all that was committed when this was first asked is there.

        After a True the next call asks anew. Raises DeploymentError where the disk is full.
        """
        deadline = time.monotonic() + seconds
        with self._errors():
            if self._ends is None:
                self._ends = self._look()
            while self._behind():
                self._take(poll(self._consumer, self._batch, _POLL_SECONDS))
                if time.monotonic() >= deadline and self._behind():
                    return False
            self._say("complete_at", str(self._clock()))
        self._ends = None
        return True

    def get(self, key: str) -> M | None:
        """The latest message of a key; None where there is none, or none that this version can read."""
        with self._errors():
            found = self._rows.execute("SELECT value FROM latest WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        try:
            return self._decode(found[0])
        except ValidationError as error:
            _log.warning(
                "%s: the message for %s can't be read and is passed over: %s", self._topic, key, error
            )
            return None

    def __len__(self) -> int:
        """The number of keys."""
        with self._errors():
            count: int = self._rows.execute("SELECT count(*) FROM latest").fetchone()[0]
        return count

    def close(self) -> None:
        """Leaves the topic and the file."""
        self._consumer.close()
        self._rows.close()

    def _open(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _connect(self._file)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:  # no database, or a broken one
            _log.warning("%s is thrown away and read anew from %s: %s", self._file, self._topic, error)
            for suffix in ("", "-wal", "-shm"):
                self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
            return _connect(self._file)

    def _look(self) -> dict[int, int]:
        """The topic's present ends; begins anew where the file does not go with them."""
        found = topic_id(self._admin, self._topic)
        partitions = self._admin.list_topics(self._topic, timeout=30).topics[self._topic].partitions
        ends = end_offsets(self._admin, self._topic, partitions)
        stored: dict[int, int] = dict(self._rows.execute("SELECT partition, position FROM positions"))
        if (reason := self._unfit(found, stored, ends)) is not None:
            if stored:
                _log.warning("%s is read anew: %s", self._topic, reason)
            self._begin_anew(found)
            stored, self._assigned = {}, False
        if not self._assigned or stored.keys() != self._positions.keys():
            self._positions = dict.fromkeys(ends, 0) | stored
            self._consumer.assign([TopicPartition(self._topic, p, at) for p, at in self._positions.items()])
            self._assigned = True
        return ends

    def _unfit(self, found: str, stored: dict[int, int], ends: dict[int, int]) -> str | None:
        about: dict[str, str] = dict(self._rows.execute("SELECT name, value FROM about"))
        if about.get("topic_id") != found:
            return "the topic was made again"
        if any(position > ends.get(partition, 0) for partition, position in stored.items()):
            return "the topic has lost messages that were read"
        if self._clock() - float(about.get("complete_at", 0)) > self._tombstones_seconds:
            return "deletions may have been missed"
        return None

    def _begin_anew(self, topic: str) -> None:
        with self._rows:
            self._rows.execute("BEGIN")
            for table in ("latest", "positions", "about"):
                self._rows.execute(f"DELETE FROM {table}")
        self._say("topic_id", topic)
        self._say("complete_at", str(self._clock()))

    def _behind(self) -> bool:
        assert self._ends is not None
        return any(self._positions[partition] < end for partition, end in self._ends.items())

    def _take(self, polled: Polled) -> None:
        moved = {message.partition: message.offset + 1 for message in polled.messages}
        for (_, partition), position in polled.ends.items():
            moved[partition] = max(position, moved.get(partition, 0), self._positions[partition])
        if not moved:
            return
        # Of a key's messages in one batch the last counts, whatever came in between.
        latest = {message.key: message.value for message in polled.messages}
        with self._rows:
            self._rows.execute("BEGIN")
            self._rows.executemany(
                "INSERT INTO latest VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [(key, value) for key, value in latest.items() if value is not None],
            )
            self._rows.executemany(
                "DELETE FROM latest WHERE key = ?", [(key,) for key, value in latest.items() if value is None]
            )
            self._rows.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", moved.items())
        self._positions |= moved

    def _say(self, name: str, value: str) -> None:
        self._rows.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DeploymentError(
                f"{self._file} can't be used: {error}; make room for it, let no other process have this data "
                f"folder, or delete the file: it is read anew"
            ) from error


def _connect(file: Path) -> sqlite3.Connection:
    rows = sqlite3.connect(file, isolation_level=None, timeout=_LOCK_SECONDS)
    try:
        rows.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
        rows.execute("PRAGMA journal_mode=WAL").fetchall()
        rows.execute(
            "PRAGMA synchronous=NORMAL"
        )  # a power cut may cost the newest rows, with their positions
        rows.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        rows.executescript(_TABLES)
        rows.execute("INSERT OR REPLACE INTO about VALUES ('opened', '')")  # takes the lock, for good
    except BaseException:
        rows.close()
        raise
    return rows
