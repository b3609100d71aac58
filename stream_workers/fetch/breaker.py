"""Whether a host is worth asking: closed while it answers, open after failures in a row, then probed.

Only failures of the host count, see atp.blame. Pure: times are seconds since 1970.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

from schemas.hosts import BreakerState, HostState

OPENS_AFTER = 5
"""Failures in a row, with no success between, …"""
OPENS_OVER = 2
"""… of at least so many accounts."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
_SUSPECT_AFTER = 2
_UNWATCHED = 3 * LONGEST_PAUSE
"""Who was not asked for longer than this between two failures may have been fine meanwhile."""


class Breaker:
    """Life: `succeeded` or `failed` for each go at an account of the host; `retry_at` before each."""

    def __init__(self, jitter: Callable[[float, float], float] = random.uniform) -> None:
        """`jitter` chooses between two bounds."""
        self._jitter = jitter
        self._open = False
        self._opened_at = 0.0
        self._pause = FIRST_PAUSE
        self._row = 0
        self._accounts: set[str] = set()
        self.openings = 0
        """How often it has opened."""
        self.retry_at = 0.0
        """While it is open: when the next probe may start."""
        self.failing_since: float | None = None
        """The first failure after the last success."""
        self.failed_at = 0.0
        self.last_success_at: float | None = None

    def state(self, now: float) -> BreakerState:
        """As people call it."""
        if not self._open:
            return "closed"
        return "open" if now < self.retry_at else "half_open"

    @property
    def is_open(self) -> bool:
        """Whether nothing but a probe may start."""
        return self._open

    @property
    def is_suspect(self) -> bool:
        """Whether the host has never answered yet, or fails at present."""
        return self._open or self.last_success_at is None or self._row >= _SUSPECT_AFTER

    @property
    def accounts_in_row(self) -> int:
        """Accounts among the failures in a row, up to a few."""
        return len(self._accounts)

    def succeeded(self, now: float) -> None:
        """The host answered, whatever it said of the account."""
        self.last_success_at = now
        self.failing_since = None
        self._open, self._row, self._pause, self.retry_at = False, 0, FIRST_PAUSE, 0.0
        self._accounts.clear()

    def failed(self, account: str, now: float, *, started_at: float, connected: bool) -> None:
        """A failure of the host in a go that began at `started_at`; `connected`: whether it came that far."""
        self._fails_at(now)
        if self._open:
            if started_at >= self._opened_at:  # else it began before, and says nothing new
                self._pause = min(LONGEST_PAUSE, 2 * self._pause)
                self._rest(now)
            return
        self._row += 1
        if len(self._accounts) < OPENS_OVER:
            self._accounts.add(account)
        never_there = self.last_success_at is None and not connected
        if never_there or (self._row >= OPENS_AFTER and len(self._accounts) >= OPENS_OVER):
            self._open, self._opened_at = True, now
            self.openings += 1
            self._rest(now)

    def refused(self, now: float) -> None:
        """A 429: neither here nor there, but without a success for long enough the host is given up."""
        self._fails_at(now)

    def fields(self, now: float) -> dict[str, object]:
        """Its part of a `HostState`."""
        return {
            "breaker": self.state(now),
            "retry_at": _instant(self.retry_at or None),
            "failing_since": _instant(self.failing_since),
            "last_failure_at": _instant(self.failed_at or None),
            "last_success_at": _instant(self.last_success_at),
        }

    def restore(self, state: HostState) -> None:
        """Begins with what was known before a restart."""
        self.failing_since = _seconds(state.failing_since)
        self.failed_at = _seconds(state.last_failure_at) or 0.0
        self.last_success_at = _seconds(state.last_success_at)
        if state.breaker != "closed":
            self._open, self.retry_at = True, _seconds(state.retry_at) or 0.0

    def _fails_at(self, now: float) -> None:
        if self.failing_since is None or now > self.failed_at + _UNWATCHED:
            self.failing_since = now
        self.failed_at = now

    def _rest(self, now: float) -> None:
        self.retry_at = now + self._pause * self._jitter(0.75, 1.25)


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _seconds(instant: datetime | None) -> float | None:
    return None if instant is None else instant.timestamp()
