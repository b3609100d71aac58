"""A budget that a host does not tell of: so many requests in a fixed window, learnt from its refusals alone.

A window begins with its first request. What is learnt is its length, between two bounds, and the budget: the
requests that were taken in a window which was seen from its beginning.

1. A refusal shuts the host. Single requests, after pauses that grow by a quarter, ask whether it is open
   again; the one that is taken begins a window that is seen. A Retry-After spares the asking.
2. The next refusal tells the budget, and the asking after it the length: more than when the last request
   was refused, no more than when one was taken.
3. From now on a window is spent and then waited for. While the bounds lie apart, a few requests of each rest
   narrow them; after that nothing is sent between them, so that each window begins where ours does.
4. Budgets change: now and then one request more than the budget is sent. While these are taken, their number
   doubles. A refusal before the budget is spent lowers it at once.

Pure: times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from atp.advertised import LONGEST_PAUSE, LOOK_SECONDS, Room
from schemas.hosts import HiddenState

_FIRST_PAUSE = 2.0
_PAUSE_GROWS = 1.25
_GROWS_TIMES = 40
_STEPS = 4
_FINE = 0.01
"""Bounds that differ by this part of the length, or by `_FINE_SECONDS`, are not worth a refusal any more."""
_FINE_SECONDS = 0.1
_TEST_REQUESTS = 4000
"""The budget is tested after so many requests, which costs a refusal where nothing has changed, …"""
_TEST_SECONDS = 3600.0
"""… and after so long, so that a small one is not believed for ever."""
_LENGTH_TEST = 4
"""Each time after so many tests it is the length that is tested: windows may have become shorter."""
_SHORTER = 0.9


@dataclass(frozen=True)
class Sent:
    """A request as it was sent: in which window of the books, when, and whether it asks for a new one."""

    window: int
    at: float
    asks: bool


class HiddenBudget:
    """Life of a request: `sent`, then `taken` or `refused` where an answer came, else `lost`."""

    def __init__(self, spent: Callable[[float], None] = lambda share: None) -> None:
        """`spent` is told of each window that ended: the share of its budget that was used."""
        self.limit: int | None = None
        self.shortest = 0.0
        self.longest: float | None = None
        self._spent = spent
        self._window = 0
        self._began = 0.0
        self._seen = False
        """Whether the window was seen from its beginning, which is then `_began`."""
        self._fresh = False
        """A new window has begun by our books, and no answer has confirmed it; `_began` is the old one's."""
        self._sent = self._taken = 0
        self._shut = False
        self._asking = False
        self._ask_at = 0.0
        self._refusals = 0
        self._step = 0.0
        self._extra = 0
        self._tests = self._since_test = 0
        self._tested_at = 0.0

    def ready_at(self, now: float) -> float:
        """When a request may be sent; 0: now."""
        if self._asking:
            return now + LOOK_SECONDS
        if self.longest is None:
            return self._ask_at if self._shut else 0.0
        end = self._began + self.longest
        if now >= end:
            return now + LOOK_SECONDS if self._fresh and self._sent else 0.0
        if self._is_spent():
            return end if self._is_fine() else min(end, self._began + self.shortest + self._step)
        return end if self._is_fine() and now >= self._began + self.shortest else 0.0

    def rooms(self, now: float) -> list[Room]:
        """What is left of the window, if its budget and length are learnt."""
        if self.limit is None or self.longest is None:
            return []
        end = self._began + self.longest
        if now >= end:
            return [Room(self.limit, now + self.longest, self.limit)]
        return [Room(self.limit - self._sent, end, self.limit)]

    def sent(self, now: float) -> Sent:
        """A request goes out."""
        if self.longest is None:
            self._asking = self._shut
        elif now < self._began + self.longest:
            self._asking = self._is_spent()
        elif not self._fresh:
            self._spent(min(1.0, self._taken / (self.limit or 1)))
            self._window += 1
            self._fresh, self._shut, self._sent, self._taken = True, False, 0, 0
        if not self._asking:
            self._sent += 1
        self._since_test += 1
        return Sent(self._window, now, self._asking)

    def lost(self, sent: Sent) -> None:
        """No answer came: whether the host counted it, nobody knows."""
        if sent.asks:
            self._asking = False
        elif self._fresh and sent.window == self._window:
            self._sent = 0

    def taken(self, sent: Sent, now: float) -> None:
        """An answer came that is not a 429."""
        if sent.asks:
            self._asking = False
            if self._seen:
                self.longest = max(now - self._began, self.shortest)
            self._window += 1
            self._shut, self._fresh, self._sent, self._taken = False, False, 1, 1
            self._begin(now)
        elif sent.window == self._window:
            self._taken += 1
            if self._fresh:
                self._fresh = False
                self._begin(now)
            if self.limit is not None and self._seen and self._taken > self.limit:
                self.limit = self._taken
                self._extra *= 2

    def refused(self, sent: Sent, now: float, pause: float | None) -> None:
        """A 429, which asks for a pause of so many seconds, or does not say."""
        until = None if pause is None else now + min(pause, LONGEST_PAUSE)
        if sent.asks:
            self._asking, self._shut = False, True
            self._not_over_at(sent.at)
            self._refusals += 1
            self._rest(now, until)
        elif sent.window == self._window and not self._shut:  # one lesson for all that are under way
            self._shut, self._refusals = True, 0
            if self._fresh:
                self._fresh = False
                self._not_over_at(sent.at)
            elif self._seen:
                self._lower_to(max(1, self._taken))
            self._extra = 0
            self._rest(now, until)

    def state(self) -> HiddenState | None:
        """What is learnt, for the topic `hosts`; None: no refusal was met."""
        if not self._shut and self.limit is None and self.longest is None:
            return None
        return HiddenState(
            limit=self.limit,
            shortest_seconds=self.shortest,
            longest_seconds=self.longest,
            began_at=datetime.fromtimestamp(self._began, UTC) if self._seen else None,
            sent=self._sent,
        )

    def restore(self, state: HiddenState, *, exact: bool) -> None:
        """Begins with this. Not `exact`: more was spent of the window since, so it is waited for its end."""
        if state.limit is None or state.longest_seconds is None or state.began_at is None:
            return
        self.limit, self.shortest, self.longest = state.limit, state.shortest_seconds, state.longest_seconds
        self._began, self._seen = state.began_at.timestamp(), True
        self._sent = self._taken = state.sent if exact else max(state.sent, state.limit)
        self._tested_at = self._began

    def _begin(self, now: float) -> None:
        """A window begins, and is seen."""
        self._began, self._seen, self._refusals = now, True, 0
        if self.limit is None or self.longest is None:
            return
        due = self._since_test >= _TEST_REQUESTS or now >= self._tested_at + _TEST_SECONDS
        if due and self._is_fine():
            self._tests += 1
            self._since_test, self._tested_at = 0, now
            if self._tests % _LENGTH_TEST:
                self._extra = max(1, self._extra)
            else:
                self.shortest *= _SHORTER
        self._step = (self.longest - self.shortest) / _STEPS

    def _is_spent(self) -> bool:
        return self._shut or (self.limit is not None and self._sent >= self.limit + self._extra)

    def _is_fine(self) -> bool:
        if self.longest is None:
            return False
        return self.longest - self.shortest <= max(_FINE_SECONDS, _FINE * self.longest)

    def _not_over_at(self, at: float) -> None:
        """A request that was sent then was refused: the window was not over."""
        if self._seen:
            self.shortest = max(self.shortest, at - self._began)
            if self.longest is not None and self.shortest >= self.longest:
                self.longest = None

    def _lower_to(self, taken: int) -> None:
        if self.limit is not None and taken < self.limit:
            self._since_test = _TEST_REQUESTS  # perhaps by a passing trouble: the next window tests it
        self.limit = taken

    def _rest(self, now: float, until: float | None) -> None:
        """The host is shut: until when, if it says so or that is known, or when to ask."""
        if until is None:
            grown = _PAUSE_GROWS ** min(self._refusals, _GROWS_TIMES)
            self._ask_at = now + min(_FIRST_PAUSE * grown, LONGEST_PAUSE)
            return
        self._ask_at = until
        if self._seen and self.limit is not None:
            self.longest = self.shortest = until - self._began
