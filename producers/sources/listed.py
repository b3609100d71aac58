"""Sources that are lists and stay as they are: their entries are counted, so a cursor is a number.

The list may not change while its job is planned. A checksum over the entries before the cursor travels with
it, and a list that was changed is refused instead of half read.
"""

from __future__ import annotations

import asyncio
import zlib
from abc import abstractmethod
from collections.abc import AsyncGenerator, Generator
from typing import NamedTuple

import orjson

from producers.sources.base import AccountSource, Entry, Page
from schemas.errors import SourceError

LIST_PAGE = 500
"""Entries of a page of what is read in this process."""
SKIPPED_AT_ONCE = 5000


class Place(NamedTuple):
    """How far a list was read: rows, those without an entry included, and the CRC-32 of the entries, each
    with a line feed."""

    rows: int = 0
    checksum: int = 0


class Reading:
    """A list in the midst of being read; None among its entries stands for a row without one."""

    def __init__(self, entries: Generator[str | None, None, None]) -> None:
        self._entries = entries
        self.place = Place()
        self.ended = False
        self.blank = 0
        """Rows without an entry that `take` last met."""

    def take(self, most: int, until: int | None = None) -> list[str]:
        """So many entries, or fewer at the end of the list or at row `until`; moves the place."""
        taken: list[str] = []
        rows, self.blank = self.place.rows, 0
        while len(taken) < most and rows != until:
            entry = next(self._entries, _END)
            if entry is _END:
                self.ended = True
                break
            rows += 1
            if isinstance(entry, str):
                taken.append(entry)
            else:
                self.blank += 1
        text = "".join(f"{entry}\n" for entry in taken).encode("utf-8", "replace")
        self.place = Place(rows, zlib.crc32(text, self.place.checksum))
        return taken

    def close(self) -> None:
        """Gives back what is open."""
        self._entries.close()


_END = object()


class ListedAccounts(AccountSource):
    """A list that is read from the beginning each time, in this process."""

    def __init__(self, page_entries: int = LIST_PAGE) -> None:
        super().__init__(page_entries)

    @abstractmethod
    def _entries(self) -> Generator[str | None, None, None]:
        """All entries from the beginning, stripped and not empty; None for a row that has none."""

    async def _take(self, reading: Reading, most: int, until: int | None = None) -> list[str]:
        """One step of reading. Others have their turn between two steps."""
        await asyncio.sleep(0)
        return reading.take(most, until)

    async def _pages(self, after: str | None) -> AsyncGenerator[Page, None]:
        wanted = Place() if after is None else Place(*orjson.loads(after))
        reading = Reading(self._entries())
        try:
            while not reading.ended and reading.place.rows < wanted.rows:
                await self._take(reading, SKIPPED_AT_ONCE, wanted.rows)
            require_same(reading, wanted, self.name)
            while not reading.ended:
                taken = await self._take(reading, self.page_entries)
                if taken or reading.blank:
                    yield page_of(taken, reading.blank, orjson.dumps(list(reading.place)).decode())
        finally:
            reading.close()

    async def again(self, until: str) -> AsyncGenerator[Page, None]:
        """See AccountSource."""
        wanted = Place(*orjson.loads(until))
        reading = Reading(self._entries())
        try:
            while not reading.ended and reading.place.rows < wanted.rows:
                yield page_of(await self._take(reading, self.page_entries, wanted.rows), 0, until)
            require_same(reading, wanted, self.name)
        finally:
            reading.close()


def require_same(reading: Reading, wanted: Place, name: str) -> None:
    """Raises SourceError unless the entries read are those that `wanted` was taken from."""
    if reading.place != wanted:
        raise SourceError(
            f"{name} changed while its job was being planned: its first {wanted.rows} rows are not "
            f"those read before; submit a new job"
        )


def page_of(texts: list[str], blank: int, cursor: str) -> Page:
    """A page of entries of which nothing is known but their names."""
    return Page([Entry(text) for text in texts], cursor, {"blank": blank} if blank else {})
