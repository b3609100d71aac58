"""Figures, spans and moments as the pages show them. What is not known is `–`, never 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

UNKNOWN = "–"
_SPANS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def number(value: float | None) -> str:
    """A count, with thousands told apart."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Something per second: as many digits as tell something."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 1 else f"{value:,.2g}"


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
        return f"{seconds:.1f} s"
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


def share(value: float | None) -> str:
    """A part of one, in per cent; more than nothing is never 0, less than all never 100."""
    if value is None:
        return UNKNOWN
    percent = value * 100
    if 0 < percent < 1:
        return "< 1 %"
    if 99 < percent < 100:
        return "> 99 %"
    return f"{percent:.0f} %"


def at(value: datetime | str | None) -> datetime | None:
    """A moment as the API writes it, in UTC."""
    if value is None or value == "":
        return None
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment.astimezone(UTC)


def moment(value: datetime | str | None, now: datetime | None = None) -> Markup:
    """A point in time in UTC, for the script to add the local time to. Today's without the date."""
    found = at(value)
    if found is None:
        return Markup(UNKNOWN)
    same_day = now is not None and found.date() == now.date()
    text = f"{found:%H:%M:%S}" if same_day else f"{found:%Y-%m-%d %H:%M:%S}"
    return Markup('<time datetime="{}">{}</time>').format(f"{found:%Y-%m-%dT%H:%M:%SZ}", text)


def ranked(counts: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    """Counts by name, the largest first."""
    return sorted((counts or {}).items(), key=lambda item: (-item[1], item[0]))


def counted(value: int, one: str, many: str) -> str:
    """`1 account`, `2,000 accounts`."""
    return f"{value:,} {one if value == 1 else many}"


def parts_of(done: Sequence[tuple[str, int]], total: int) -> list[tuple[str, int, float, float]]:
    """A bar's pieces: name, count, and where each begins and how wide it is, in per cent of the whole.

    What is counted while the total still grows never makes a bar longer than it is.
    """
    pieces, begin = [], 0.0
    whole = max(total, sum(count for _, count in done), 1)
    for name, count in done:
        if count:
            width = 100 * count / whole
            pieces.append((name, count, round(begin, 3), round(width, 3)))
            begin += width
    return pieces


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "rate": rate,
    "size": size,
    "span": span,
    "share": share,
    "moment": moment,
    "ranked": ranked,
}
