"""Points in time as people write them on a command line: a day, an instant, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from schemas.errors import ConfigError

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def moment(text: str, now: datetime) -> datetime:
    """`2h` is before `now`; `2026-01-31` and `2026-01-31T12:00` are in UTC unless they say otherwise.

    ConfigError for anything else.
    """
    return _moment(text, now, -1, "how long ago")


def ahead(text: str, now: datetime) -> datetime:
    """The same with `2h` after `now`. ConfigError also for what is not after it."""
    found = _moment(text, now, 1, "how long from now")
    if found <= now:
        raise ConfigError(f"{text!r} lies in the past")
    return found


def _moment(text: str, now: datetime, direction: int, what: str) -> datetime:
    span = re.fullmatch(r"(\d{1,9}) ?([a-z]+)", text.strip())
    try:
        if span and span[2] in _UNITS:
            return now + direction * timedelta(seconds=int(span[1]) * _UNITS[span[2]])
        found = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{text!r} is no point in time; write {what} (30min, 6h, 2d), a day (2026-01-31) or an "
            f"instant (2026-01-31T12:00:00Z)"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
