"""TIDs, the timestamps that name revisions and most records.

They sort as text in the order of time; a comparison of two revs relies on that.
Source: atproto.com/specs/tid
"""

from __future__ import annotations

import re

ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"
_TID = re.compile(r"[2-7a-j][2-7a-z]{12}")
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_CLOCK_BITS = 10
_LARGEST_MICROSECONDS = 2**53 - 1


def is_tid(text: str) -> bool:
    """Tell whether ``text`` is a TID: 13 characters of base32-sortable, the top bit clear."""
    return _TID.fullmatch(text) is not None


def microseconds(tid: str) -> int:
    """The time in a valid TID, in microseconds since 1970 (UTC)."""
    number = 0
    for character in tid:
        number = number << 5 | _VALUES[character]
    return number >> _CLOCK_BITS


def from_microseconds(time_us: int, clock: int = 0) -> str:
    """The TID of a time (microseconds since 1970, 53 bits) and a clock identifier (10 bits).

    Out of range values are clamped, so that a bound made from any date stays a TID.
    """
    time_us = min(max(time_us, 0), _LARGEST_MICROSECONDS)
    number = time_us << _CLOCK_BITS | (clock & (1 << _CLOCK_BITS) - 1)
    return "".join(ALPHABET[number >> shift & 31] for shift in range(60, -1, -5))
