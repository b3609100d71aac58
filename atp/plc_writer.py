"""Writes the mirror of the PLC directory, one batch of its log at a time.

What may never break: operations and the position behind them are one transaction, so a process may be killed
at any instant, and the file always holds just what its position says. One process writes, many read.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from atp.plc import Operation, Position
from atp.plc_mirror import APPLICATION_ID, SETTING, VERSION, PlcMirror, check, columns, connect, packed, told
from schemas.errors import DeploymentError

_CACHE_KIB = 64 * 1024
_CHECKPOINT_PAGES = 8192
"""32 MiB of pages: accounts lie in no order, so each batch touches about as many pages as it has accounts."""
_BATCH = 1000
_TABLES = (
    "CREATE TABLE hosts (id INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE)",
    """CREATE TABLE accounts (
         did BLOB PRIMARY KEY, seq INTEGER, created INTEGER NOT NULL, state INTEGER NOT NULL,
         host INTEGER, signing_key TEXT, words TEXT
       ) WITHOUT ROWID""",
    """CREATE TABLE progress (
         directory TEXT NOT NULL, operations INTEGER NOT NULL, dids INTEGER NOT NULL,
         seq INTEGER, created INTEGER, caught_up REAL
       )""",
)


class MirrorWriter(PlcMirror):
    """A mirror to read and write; made if it is not there. Its lock lasts as long as the process at most."""

    def __init__(self, path: Path, directory: str, *, clock: Callable[[], float] = time.time) -> None:
        """``directory`` is the URL whose log this is.

        Raises DeploymentError where the file can't be written, is something else, belongs to another
        directory, or is being written by another process.
        """
        directory = directory.rstrip("/")
        self._lock = _locked(path)
        try:
            with told(path, "written"):
                made = connect(path, "rwc")
                try:
                    _prepare(made, path, directory)
                finally:
                    made.close()
            super().__init__(path, clock=clock)
        except BaseException:
            os.close(self._lock)
            raise
        self._db.close()
        self._db = connect(path, "rw")
        self._db.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last batches, never the file
        self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        self._db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        if (known := self.status().directory) != directory:
            self.close()
            raise DeploymentError(
                f"{path} mirrors {known}, not {directory}; name another file with {SETTING}, or set "
                f"SKYFILL_NETWORK__PLC_URL"
            )

    def close(self) -> None:
        """Lets go of the file and its lock."""
        super().close()
        os.close(self._lock)

    def apply(
        self,
        operations: Iterable[Operation],
        position: Position | None,
        *,
        caught_up: float | None = None,
    ) -> None:
        """Takes operations in, in their order, and what the position is then: all of it or nothing.

        ``caught_up`` (seconds since 1970) says that this is the log's end. Raises DeploymentError.
        """
        newest: dict[str, Operation] = {}
        count = 0
        for operation in operations:
            count += 1
            held = newest.get(operation.did)
            if operation.replaces(held.seq if held else None, held.created if held else -1):
                newest[operation.did] = operation
        with told(self.path, "written"), self._transaction():
            known = self._known(newest)
            counting = {
                packed(did): operation
                for did, operation in newest.items()
                if operation.replaces(*known.get(packed(did), (None, -1)))
            }
            self._store(counting)
            seq, created = position or (None, None)
            self._db.execute(
                "UPDATE progress SET operations = operations + ?, dids = dids + ?, seq = ?, created = ?, "
                "caught_up = coalesce(?, caught_up)",
                (count, len(counting.keys() - known.keys()), seq, created, caught_up),
            )

    def _known(self, newest: Iterable[str]) -> dict[bytes, tuple[int | None, int]]:
        """Number and time of the operations held of these DIDs."""
        keys, found = [packed(did) for did in newest], {}
        for begin in range(0, len(keys), _BATCH):
            batch = keys[begin : begin + _BATCH]
            query = f"SELECT did, seq, created FROM accounts WHERE did IN ({','.join('?' * len(batch))})"
            found.update({did: (seq, created) for did, seq, created in self._db.execute(query, batch)})
        return found

    def _store(self, operations: Mapping[bytes, Operation]) -> None:
        rows = {key: columns(operation.answer) for key, operation in operations.items()}
        origins = {(origin,) for _, origin, _, _ in rows.values() if origin is not None}
        self._db.executemany("INSERT OR IGNORE INTO hosts (origin) VALUES (?)", origins)
        self._db.executemany(
            "INSERT OR REPLACE INTO accounts (did, seq, created, state, host, signing_key, words) "
            "VALUES (?, ?, ?, ?, (SELECT id FROM hosts WHERE origin = ?), ?, ?)",
            ((key, operations[key].seq, operations[key].created, *row) for key, row in sorted(rows.items())),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            raise


def _locked(path: Path) -> int:
    """A lock beside the file: SQLite's own would be lost if anybody here closed the file itself."""
    beside = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DeploymentError(
            f"the mirror {path} can't be written: {error.strerror}; name another file with {SETTING}"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DeploymentError(
            f"another sync or import writes the mirror {path}; wait for its end, or stop it"
        ) from None
    return descriptor


def _prepare(db: sqlite3.Connection, path: Path, directory: str) -> None:
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables:
        check(db, path)
        return
    db.execute("PRAGMA journal_mode=WAL").fetchall()
    db.execute("BEGIN IMMEDIATE")
    for table in _TABLES:
        db.execute(table)
    db.execute("INSERT INTO progress VALUES (?, 0, 0, NULL, NULL, NULL)", (directory,))
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={VERSION}")
    db.execute("COMMIT")
