"""The accounts a plan has met, exactly and in bounded memory: each gets one task, however often it is named.

The table lives in a temporary file and dies with the process; it is built anew from the source.
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from schemas.errors import DeploymentError

_CACHE_KIB = 8192


class SeenAccounts:
    """Life: made, `add` for each account, `close`."""

    def __init__(self, folder: Path) -> None:
        """The file is made in `folder` (made if missing) and has no name: no crash can leave it behind."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = tempfile.NamedTemporaryFile(dir=folder, suffix=".seen")  # noqa: SIM115
        except OSError as error:
            raise DeploymentError(
                f"temporary files can't be made in {folder}: {error.strerror}; set SKYFILL_DATA_DIR to a "
                f"folder that can be written"
            ) from error
        with file:
            self._table = sqlite3.connect(file.name, isolation_level=None)
            # Nothing here outlives the process, so nothing has to be safe from a crash.
            self._table.execute("PRAGMA journal_mode=OFF").fetchall()
            self._table.execute("PRAGMA synchronous=OFF")
            self._table.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._table.execute("BEGIN EXCLUSIVE")
            self._table.execute("CREATE TABLE seen (account TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, account: str) -> bool:
        """Whether the account is new. Raises DeploymentError where the disk is full."""
        try:
            return self._table.execute("INSERT OR IGNORE INTO seen VALUES (?)", (account,)).rowcount == 1
        except sqlite3.OperationalError as error:
            raise DeploymentError(
                f"the table of accounts seen can't grow: {error}; make room where SKYFILL_DATA_DIR points to"
            ) from error

    def close(self) -> None:
        """Gives the file's space back."""
        self._table.close()
