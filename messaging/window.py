"""The offset window of one partition: tasks finish in any order, yet each is done exactly once.

The committed offset is the lowest unfinished one; those finished beyond it travel as a bitmap in the
offset's metadata. Offsets have holes (transaction markers, aborted batches): what lies between two
delivered messages counts as finished.
"""

from __future__ import annotations

import base64
import zlib
from collections import OrderedDict

LIMIT = 20_000
"""Offsets that a window may span before delivery has to wait: its bitmap then fits an offset's metadata,
with room for the batch of messages that was already on its way. A long hole may stretch it further, but
packs to almost nothing."""
_METADATA_BYTES = 4_096


class OffsetWindow:
    """Life: made from what was committed, `deliver` and `reached` as messages come, `finish` as tasks end."""

    def __init__(self, committed: int, metadata: str = "") -> None:
        """`metadata` is what `metadata()` of the window before returned when `committed` was committed."""
        self._position = committed
        self._open: OrderedDict[int, None] = OrderedDict()
        self._restored = _decode(committed, metadata)
        self._restored_end = max(self._restored, default=-1) + 1
        self._changed = False
        self.reached(committed)

    @property
    def committed(self) -> int:
        """The lowest unfinished offset: everything below is done."""
        return next(iter(self._open)) if self._open else self._position

    @property
    def span(self) -> int:
        """How far delivery is ahead of the commit, in offsets; 0 when nothing is in flight."""
        return self._position - self.committed

    @property
    def in_flight(self) -> int:
        """Messages delivered and not finished."""
        return len(self._open)

    @property
    def changed(self) -> bool:
        """Whether there is something to commit since `mark_committed`."""
        return self._changed

    @property
    def _end(self) -> int:
        return max(self._position, self._restored_end)

    def deliver(self, offset: int) -> bool:
        """A message arrived. True if it is to be worked on, False if it was finished or delivered before."""
        if offset < self._position:
            return False
        self.reached(offset)
        todo = offset not in self._restored
        if todo:
            self._open[offset] = None
            self._position = offset + 1
        else:
            self.reached(offset + 1)
        return todo

    def reached(self, position: int) -> None:
        """Delivery has passed all offsets below `position`: those that brought no message are holes."""
        if position > self._position:
            self._position = position
            self._changed = True
        if self._restored and self._position >= self._restored_end:
            self._restored.clear()

    def finish(self, offset: int) -> None:
        """The task of a delivered offset is done. KeyError if it is not in flight."""
        del self._open[offset]
        self._changed = True

    def mark_committed(self) -> None:
        """What `committed` and `metadata` said is now the broker's."""
        self._changed = False

    def metadata(self) -> str:
        """The bitmap of what is finished beyond `committed`, as text for the offset's metadata."""
        base = self.committed
        passed = self._position - base
        done = bytearray(b"\xff") * (passed >> 3) + bytearray((self._end - base >> 3) - (passed >> 3) + 1)
        for bit in range(passed & ~7, passed):
            _set(done, bit)
        for offset in self._open:
            done[(offset - base) >> 3] &= ~(1 << ((offset - base) & 7))
        for offset in self._restored:
            if offset >= self._position:
                _set(done, offset - base)
        bitmap = bytes(done).rstrip(b"\0")
        text = base64.b64encode(zlib.compress(bitmap, 9)).decode() if bitmap else ""
        if len(text) > _METADATA_BYTES:
            raise ValueError(f"a window of {self.span} offsets does not fit into an offset's metadata")
        return text


def finished_in(metadata: str) -> int | None:
    """How many offsets beyond the committed one a window's metadata marks as finished; None if it is none."""
    try:
        bitmap = zlib.decompress(base64.b64decode(metadata)) if metadata else b""
    except (ValueError, zlib.error):
        return None
    return sum(byte.bit_count() for byte in bitmap)


def _set(bitmap: bytearray, bit: int) -> None:
    bitmap[bit >> 3] |= 1 << (bit & 7)


def _decode(base: int, metadata: str) -> set[int]:
    if not metadata:
        return set()
    bitmap = zlib.decompress(base64.b64decode(metadata))
    return {base + i for i in range(len(bitmap) * 8) if bitmap[i >> 3] >> (i & 7) & 1}
