"""Figures and moments as the pages show them, beside those that terminals show, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from schemas.words import UNKNOWN, ranked, size, span


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
