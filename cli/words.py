"""Figures as people say them."""

from __future__ import annotations

_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def span(seconds: float) -> str:
    """A time span in its largest fitting unit: 90 s is `1.5 min`, 0.25 s is `250 ms`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:,.0f} ms"
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    return f"{seconds / size:.2g} {unit}" if seconds / size < 10 else f"{seconds / size:,.0f} {unit}"
