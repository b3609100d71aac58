"""Figures as people say them, in a terminal and on a page alike. What is not known is `–`, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

N = TypeVar("N", int, float)
UNKNOWN = "–"
_SPANS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def size(value: float | None) -> str:
    """Bytes, in powers of a thousand."""
    if value is None:
        return UNKNOWN
    for unit, name in _SIZES:
        if value >= unit:
            return f"{value / unit:,.1f} {name}"
    return f"{value:,.0f} B"


def span(seconds: float | None) -> str:
    """A time span in its two largest units: `3 h 12 min`; below ten seconds with a fraction."""
    if seconds is None:
        return UNKNOWN
    if seconds < 1:
        return f"{seconds * 1000:,.0f} ms" if seconds > 0 else "0 s"
    if seconds < 10:
        return f"{seconds:.2g} s"
    left = round(seconds)
    for place, (unit, name) in enumerate(_SPANS):
        if left >= unit:
            whole, rest = divmod(left, unit)
            if place + 1 < len(_SPANS):
                smaller, smaller_name = _SPANS[place + 1]
                if whole < 100 and rest // smaller:
                    return f"{whole:,} {name} {rest // smaller} {smaller_name}"
            return f"{whole:,} {name}"
    return "0 s"


def ranked(counts: Mapping[str, N] | None) -> list[tuple[str, N]]:
    """Counts by name, the largest first."""
    return sorted((counts or {}).items(), key=lambda item: (-item[1], item[0]))


def counted(value: int, one: str, many: str) -> str:
    """`1 account`, `2,000 accounts`."""
    return f"{value:,} {one if value == 1 else many}"
