"""A budget of bytes for repositories in memory: what does not fit goes to a temporary file, never waits.

A download that waited for others to end while holding memory itself could wait for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

_ROOMY = 7 / 8
"""Once it was spent, the budget has room again when no more than this part of it is used."""


class ByteBudget:
    """Bytes that all downloads of this process may hold at once."""

    def __init__(self, total: int) -> None:
        """`total` in bytes."""
        self.total = total
        self._used = 0
        self._room = asyncio.Event()
        self._room.set()

    @property
    def used(self) -> int:
        """Bytes taken now."""
        return self._used

    async def room(self) -> None:
        """Waits while the budget is spent: to be called before a download starts."""
        await self._room.wait()

    def take(self, size: int) -> bool:
        """Takes `size` bytes if they are there."""
        if self._used + size > self.total:
            self._room.clear()
            return False
        self._used += size
        return True

    def give_back(self, size: int) -> None:
        """Returns bytes taken before."""
        self._used -= size
        if self._used <= self.total * _ROOMY:
            self._room.set()


class Spool:
    """The bytes of one download: in memory while the budget allows, else in a temporary file read by mmap."""

    def __init__(self, budget: ByteBudget, threshold: int, folder: Path) -> None:
        """Beyond `threshold` bytes, or where the budget is exhausted, `folder` takes the file."""
        self._budget, self._threshold, self._folder = budget, threshold, folder
        self._memory = bytearray()
        self._taken = 0
        self._file: BinaryIO | None = None
        self._map: mmap.mmap | None = None
        self.size = 0

    @property
    def on_disk(self) -> bool:
        """Whether the download went to a file."""
        return self._file is not None

    def write(self, chunk: bytes) -> None:
        """Appends. OSError if the disk is full."""
        self.size += len(chunk)
        if self._file is None and self.size <= self._threshold and self._budget.take(len(chunk)):
            self._taken += len(chunk)
            self._memory += chunk
            return
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by `close`
            self._file.write(self._memory)
            self._memory = bytearray()
            self._give_back()
        self._file.write(chunk)

    def content(self) -> bytes | mmap.mmap:
        """All that was written; valid until `close`."""
        if self._file is None:
            return bytes(self._memory)
        self._file.flush()
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def close(self) -> None:
        """Returns the memory to the budget, or drops the file."""
        self._memory = bytearray()
        self._give_back()
        if self._map is not None:
            with contextlib.suppress(BufferError):  # a view of it is still alive; the map goes with the last
                self._map.close()
            self._map = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        """The spool itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def _give_back(self) -> None:
        self._budget.give_back(self._taken)
        self._taken = 0
