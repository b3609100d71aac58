"""What a source of accounts promises: its entries, counted from the beginning, always in the same order.

A plan goes on after a crash by counting entries. So a source may not change while its job is planned; the
planner keeps a checksum of what it has read and refuses to go on where the source did.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path

from schemas.errors import SourceError


class AccountSource(ABC):
    """Entries as the user wrote them; whether they name accounts is for others to judge."""

    def entries(self, start: int = 0) -> Generator[str, None, None]:
        """Entries from position `start` on, surrounding white space removed, empty ones left out.

        Streams, in bounded memory. Raises SourceError, in the midst of it too, when the source can't be
        read or holds no entry at all: a backfill of nothing is a mistake, not a success.
        """
        entries = self._entries()
        empty = True
        for entry in islice(entries, start, None):
            empty = False
            yield entry
        if empty and start == 0:
            raise SourceError(f"{self.name} holds no accounts; name at least one DID or handle")

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call the source."""

    @abstractmethod
    def _entries(self) -> Iterator[str]:
        """All entries from the beginning, stripped and not empty."""


def existing_file(path: str) -> Path:
    """The path of a file that can be read again from the beginning. Raises SourceError."""
    found = Path(path).expanduser()
    try:
        if found.is_file():
            return found
        exists = found.exists()
    except (OSError, ValueError) as error:
        raise SourceError(f"{path!r} can't be opened: {error}") from error
    if exists:
        raise SourceError(f"{path} is not a regular file; a plan has to be able to read it again")
    where = "" if found.is_absolute() else f" (looked for in {Path.cwd()})"
    raise SourceError(f"{path} does not exist{where}; correct source.path")
