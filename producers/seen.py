"""The accounts a plan has met, exactly and in bounded memory: each gets one task, however often it is named.

The table is a file that survives the process: each account stands there with the chunk that brought it,
before that chunk is committed to Kafka. What a chunk that never was committed brought is taken out again. A
file that is missing, damaged or of another plan counts as missing: whoever opens it has to fill it again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path

import orjson

from schemas.errors import DeploymentError

_log = logging.getLogger("skyfill.planner")
_CACHE_KIB = 16 * 1024
_WAL_PAGES = 4000
_PLC = "did:plc:"
_SUFFIXES = ("", "-wal", "-shm")


class SeenAccounts:
    """Life: made, `known` and `add` for many accounts at once, `close`."""

    def __init__(self, folder: Path, job_id: str, *, name: str, wanted: str | None, chunk: int) -> None:
        """The job's table in `folder` (made if missing), as of `chunk`, if it is the one named `wanted`.

        Else a new one, called `name`, which is not `complete` unless nothing was met yet. Raises
        DeploymentError where files can't be made.
        """
        self._file = _file_of(folder, job_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found = self._open(wanted, chunk)
            self.complete = found is not None or chunk == 0
            self._table = found or self._make(name)
        except (OSError, sqlite3.Error) as error:
            raise DeploymentError(
                f"files can't be made in {folder}: {error}; set SKYFILL_DATA_DIR to a folder that can be "
                f"written"
            ) from error
        self.name = _name_of(self._table) or name
        """What a checkpoint remembers the table by."""

    def known(self, accounts: Collection[str]) -> set[str]:
        """Those of `accounts` that were met."""
        if not accounts:
            return set()
        wanted = orjson.dumps([_key(account) for account in accounts]).decode()
        try:
            rows = self._table.execute(
                "SELECT account FROM seen WHERE account IN (SELECT value FROM json_each(?))", (wanted,)
            ).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from error
        return {_account(key) for (key,) in rows}

    def add(self, accounts: Iterable[str], chunk: int) -> None:
        """Notes that `chunk` brought these, in one transaction; those that were met before keep theirs.

        Raises DeploymentError where the disk is full.
        """
        # In the tree's own order, so that neighbours share a page.
        rows = [(key, chunk) for key in sorted(map(_key, accounts))]
        try:
            self._table.execute("BEGIN IMMEDIATE")
            self._table.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", rows)
            self._table.execute("UPDATE plan SET chunk = max(chunk, ?)", (chunk,))
            self._table.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from error

    def close(self) -> None:
        """Leaves the file for whoever goes on."""
        self._table.close()

    def _open(self, wanted: str | None, chunk: int) -> sqlite3.Connection | None:
        """The table that is there, without what later chunks brought; None if it can't be used."""
        if wanted is None or not self._file.exists():
            return None
        table = _connect(self._file)
        try:
            if _name_of(table) == wanted:
                ((last,),) = table.execute("SELECT chunk FROM plan").fetchall()
                if last > chunk:  # a whole walk through the table, which only a kill makes needful
                    table.execute("DELETE FROM seen WHERE chunk > ?", (chunk,))
                    table.execute("UPDATE plan SET chunk = ?", (chunk,))
                return table
        except sqlite3.DatabaseError as error:
            _log.warning("%s can't be read and is made anew: %s", self._file, error)
        table.close()
        return None

    def _make(self, name: str) -> sqlite3.Connection:
        _remove(self._file)
        table = _connect(self._file)
        table.execute("CREATE TABLE seen (account TEXT PRIMARY KEY, chunk INTEGER NOT NULL) WITHOUT ROWID")
        table.execute("CREATE TABLE plan (name TEXT NOT NULL, chunk INTEGER NOT NULL)")
        table.execute("INSERT INTO plan VALUES (?, 0)", (name,))
        return table

    def _broken(self, error: sqlite3.DatabaseError) -> DeploymentError:
        if isinstance(error, sqlite3.OperationalError):
            return DeploymentError(
                f"{self._file} can't be used: {error}; make room where SKYFILL_DATA_DIR points to"
            )
        self._table.close()
        _remove(self._file)
        return DeploymentError(
            f"the table of accounts met was damaged ({error}) and removed; the next start makes it anew"
        )


def forget(folder: Path, job_id: str) -> None:
    """Removes the table of a job whose plan is finished."""
    _remove(_file_of(folder, job_id))


def kept(folder: Path) -> list[str]:
    """The jobs that have a table there."""
    return [file.stem for file in folder.glob("*.sqlite")]


def _file_of(folder: Path, job_id: str) -> Path:
    return folder / f"{job_id}.sqlite"


def _remove(file: Path) -> None:
    for suffix in _SUFFIXES:
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _connect(file: Path) -> sqlite3.Connection:
    table = sqlite3.connect(file, isolation_level=None)
    # What a killed process wrote is the kernel's, and safe; only a power cut may spoil the file.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=OFF",
        f"cache_size=-{_CACHE_KIB}",
        f"wal_autocheckpoint={_WAL_PAGES}",
    ):
        try:
            table.execute(f"PRAGMA {pragma}").fetchall()
        except sqlite3.DatabaseError:
            break  # no database: whoever reads it will say so
    return table


def _name_of(table: sqlite3.Connection) -> str | None:
    with closing(table.execute("SELECT name FROM plan")) as rows:
        found = rows.fetchone()
    return None if found is None else str(found[0])


def _key(account: str) -> str:
    """The account as it is kept: most are did:plc, whose common part would be a quarter of the file."""
    if account.startswith(_PLC) and not account.startswith(_PLC + "."):
        return account[len(_PLC) :]
    return "." + account.encode("utf-8", "replace").decode()


def _account(key: str) -> str:
    return key[1:] if key.startswith(".") else _PLC + key
