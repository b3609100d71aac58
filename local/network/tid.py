"""Timestamp identifiers, as record keys and revs of simulated repositories carry them.

Written apart from ``atp`` for the same reason as the rest of this folder: each judges the other.
"""

from __future__ import annotations

ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"


PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
"""Ten bits as two characters."""


def tid(microseconds: int, clock: int) -> str:
    """13 characters for a time in microseconds since 1970 and a clock id of 10 bits (atproto spec, TID)."""
    pairs = [PAIRS[microseconds >> shift & 1023] for shift in (40, 30, 20, 10, 0)]
    return ALPHABET[microseconds >> 50] + "".join(pairs) + PAIRS[clock]
