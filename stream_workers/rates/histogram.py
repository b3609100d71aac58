"""Percentiles in bounded memory: how often each length of time was seen, in bins of equal ratio.

A percentile is off by at most 2.5 % of its value (half a bin of ratio 1.05), or by 1 ms below that; beyond a
day it is told as a day. Held against exact percentiles in tests/stream_workers/test_rate_windows.py.
"""

from __future__ import annotations

import math

_RATIO = 1.05
_LEAST = 0.001
_MOST = 86_400.0
RELATIVE_ERROR = math.sqrt(_RATIO) - 1
ABSOLUTE_ERROR = _LEAST
_LOG = math.log(_RATIO)


class Histogram:
    """Seconds, counted. At most 376 bins, and only those that were hit take memory."""

    __slots__ = ("_bins",)

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Counts one."""
        at = _bin(seconds)
        self._bins[at] = self._bins.get(at, 0) + 1

    def merge(self, other: Histogram) -> None:
        """Counts all that the other has counted."""
        for at, number in other._bins.items():
            self._bins[at] = self._bins.get(at, 0) + number

    def percentile(self, share: float) -> float | None:
        """The value that `share` (0 to 1) of all do not exceed, by nearest rank; None if there are none."""
        total = sum(self._bins.values())
        if not total:
            return None
        rank, seen = max(1, math.ceil(share * total)), 0
        for at in sorted(self._bins):
            seen += self._bins[at]
            if seen >= rank:
                return _LEAST if at == 0 else min(_MOST, _LEAST * _RATIO ** (at - 0.5))
        return _MOST  # unreachable unless a float rounds `rank` beyond the total


def _bin(seconds: float) -> int:
    """0 up to a millisecond, then bin n from _LEAST * _RATIO**(n-1), exclusive, to _LEAST * _RATIO**n."""
    if seconds <= _LEAST:
        return 0
    return max(1, math.ceil(math.log(min(seconds, _MOST) / _LEAST) / _LOG))
