"""Repositories that were downloaded and proven, but not published, since their partition went away meanwhile.

A partition often comes back, when workers come and go: then the same download is not made twice. What is
kept is proven anew when it is used, and not kept for long: nothing old is taken for the present state.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from schemas.dids import DidTask
from stream_workers.fetch.budget import Spool

SECONDS = 300.0
MOST = 1000


class _Kept(NamedTuple):
    spool: Spool
    until: float


class KeptDownloads:
    """Life: `keep` and `take`; `close`. For the event loop's thread."""

    def __init__(
        self,
        most_bytes: int,
        *,
        most: int = MOST,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[str], None] = lambda result: None,
    ) -> None:
        """At most `most` of them, and `most_bytes` together, each for so many `seconds`.

        `told` is told how each ended: `used`, or `dropped`.
        """
        self._most_bytes, self._most, self._seconds = most_bytes, most, seconds
        self._clock, self._told = clock, told
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._bytes = 0

    def keep(self, task: DidTask, spool: Spool) -> None:
        """Takes the spool over. One on disk, or too large, is closed at once."""
        if spool.on_disk or spool.size > self._most_bytes:
            spool.close()
            return
        self._drop((task.pds, task.did))
        self._kept[task.pds, task.did] = _Kept(spool, self._clock() + self._seconds)
        self._bytes += spool.size
        while self._bytes > self._most_bytes or len(self._kept) > self._most:
            self._drop(next(iter(self._kept)))

    def take(self, task: DidTask) -> Spool | None:
        """The account's CAR, if there is one; it is the caller's to close."""
        self._drop_old()
        kept = self._kept.pop((task.pds, task.did), None)
        if kept is None:
            return None
        self._bytes -= kept.spool.size
        self._told("used")
        return kept.spool

    def close(self) -> None:
        """Drops them all."""
        for key in list(self._kept):
            self._drop(key)

    def _drop_old(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[str, str]) -> None:
        if kept := self._kept.pop(key, None):
            self._bytes -= kept.spool.size
            kept.spool.close()
            self._told("dropped")
