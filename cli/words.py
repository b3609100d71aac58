"""Figures as people say them."""

from __future__ import annotations

_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def span(seconds: float) -> str:
    """A time span in its largest fitting unit: 90 s is `1.5 min`, 0.25 s is `250 ms`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:,.0f} ms"
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    return f"{seconds / size:.2g} {unit}" if seconds / size < 10 else f"{seconds / size:,.0f} {unit}"


def printable(text: str) -> str:
    """Text of others for a terminal: what would move the cursor or colour it is shown as `�`."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def one_line(text: str, most: int) -> str:
    """The beginning of it, in one line of at most `most` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else line[: most - 1] + "…"


def counted(number: int, one: str, many: str) -> str:
    """`1 dead letter`, `2,000 dead letters`."""
    return f"{number:,} {one if number == 1 else many}"
