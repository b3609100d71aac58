"""Numbers by CID in a few bytes each: for repositories with millions of blocks.

A dictionary keeps each CID and costs some 200 bytes a block. Here the CIDs stay where they are, in the CAR,
and one is looked at only where its hash is the wanted one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable

_FREE = 0
_SPARSE = 3
"""Places for each number, at the least, when the table is made anew."""


class CidTable:
    """Like a dictionary from CIDs to 0, 1, 2, ..., which have to be added in this order.

    Python's own hash of bytes is keyed by a secret of the process: nobody can choose CIDs that collide.
    """

    def __init__(self, cid_of: Callable[[int], bytes], cids: Iterable[bytes]) -> None:
        """``cid_of`` gives the CID of a number; ``cids`` are the first ones, no two of them the same."""
        self._cid_of = cid_of
        self._hashes = array("q", map(hash, cids))
        self._grow()

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, cid: bytes) -> bool:
        return self.get(cid) is not None

    def get(self, cid: bytes) -> int | None:
        """The number of a CID, or None."""
        hashed = hash(cid)
        places, hashes, mask = self._places, self._hashes, len(self._places) - 1
        place = hashed & mask
        while (entry := places[place]) != _FREE:
            if hashes[entry - 1] == hashed and self._cid_of(entry - 1) == cid:
                return entry - 1
            place = (place + 1) & mask
        return None

    def __setitem__(self, cid: bytes, number: int) -> None:
        """Add the next number, whose CID is a new one."""
        self._hashes.append(hash(cid))
        if len(self._hashes) * 2 > len(self._places):
            self._grow()
        else:
            self._place(number)

    def _place(self, number: int) -> None:
        places, mask = self._places, len(self._places) - 1
        place = self._hashes[number] & mask
        while places[place] != _FREE:
            place = (place + 1) & mask
        places[place] = number + 1

    def _grow(self) -> None:
        count = len(self._hashes)
        self._places = array("I", bytes(4 << ((count + 1) * _SPARSE).bit_length()))
        for number in range(count):
            self._place(number)
