"""Accounts from a SQLite database: opened read-only, and asked nothing but a SELECT.

The order is that of the query. Without ORDER BY it is the order in which SQLite walks the table, which stays
the same as long as nobody writes to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing
from urllib.parse import quote

from producers.sources.file import existing_file
from producers.sources.listed import LIST_PAGE, ListedAccounts
from schemas.errors import SourceError
from schemas.sources import SqliteSource

_READING = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)


class SqliteAccounts(ListedAccounts):
    """The first column of the query's rows."""

    def __init__(self, source: SqliteSource, page_entries: int = LIST_PAGE) -> None:
        super().__init__(page_entries)
        self._path = source.path
        self._query = source.query

    @property
    def name(self) -> str:
        return f"{self._path} (query: {self._query})"

    def _entries(self) -> Generator[str | None, None, None]:
        path = existing_file(self._path)
        try:
            connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise self._unreadable(str(error)) from error
        with closing(connection):
            try:
                tables = _tables(connection)
            except sqlite3.Error as error:
                raise self._unreadable(f"not a SQLite database that can be read: {error}") from error
            # SQLite itself judges the statement: no text that looks like a SELECT can do anything else.
            connection.set_authorizer(_only_reading)
            try:
                rows = connection.execute(self._query)
                if rows.description is None:
                    raise self._unreadable("the query returns no rows; source.query has to be a SELECT")
                for row in rows:
                    yield (str(row[0]).strip() or None) if row[0] is not None else None
            except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                raise self._unreadable(_advice(error, tables)) from error

    def _unreadable(self, why: str) -> SourceError:
        return SourceError(f"{self.name}: {why}")


def _only_reading(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Tables and views with their columns, e.g. `dids(did, handle)`, to say what could be asked for."""
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name LIMIT 20"
    ).fetchall()
    columns = "SELECT name FROM pragma_table_info(?)"
    return [f"{name}({', '.join(c for (c,) in connection.execute(columns, (name,)))})" for (name,) in names]


def _advice(error: Exception, tables: list[str]) -> str:
    if "not authorized" in str(error) or "prohibited" in str(error):
        return f"{error}; source.query may only read: write a SELECT"
    listed = ", ".join(tables) or "none"
    return f"{error}; correct source.query (tables there: {listed})"
