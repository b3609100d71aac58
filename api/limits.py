"""How many requests of a token, or without one of an address, this process takes within a minute.

What may never break: what is counted stays bounded in number and in time, whoever asks and however often.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

ANONYMOUS_SHARE = 10
"""Without a token an address has this part of what a token has."""
_WINDOW_SECONDS = 60
_MOST_KEYS = 10_000


@dataclass(frozen=True)
class Taken:
    """What a request leaves of its budget."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    """Until more is left than now."""

    def headers(self) -> dict[str, str]:
        """The RateLimit headers that most clients know, as hosts of AT Protocol send them, too."""
        said = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
            "RateLimit-Policy": f"{self.limit};w={_WINDOW_SECONDS}",
        }
        return said if self.allowed else said | {"Retry-After": str(self.reset_seconds)}


class RequestLimits:
    """Budgets by token and by address."""

    def __init__(self, requests_per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`requests_per_minute` of one token; `clock` in seconds."""
        self._clock = clock
        self._windows = MovingWindowRateLimiter(_Moments(clock))
        self._of_token = RateLimitItemPerMinute(requests_per_minute)
        self._of_address = RateLimitItemPerMinute(max(1, requests_per_minute // ANONYMOUS_SHARE))

    def token(self, token_id: str) -> Taken:
        """Takes one request of a token's budget."""
        return self._take(self._of_token, "token", token_id)

    def address(self, address: str) -> Taken:
        """Takes one request, without a good token, of an address' budget."""
        return self._take(self._of_address, "address", address)

    def address_left(self, address: str) -> Taken:
        """What an address has left, without taking anything of it."""
        left = self._windows.test(self._of_address, "address", address)
        return self._told(self._of_address, left, "address", address)

    def _take(self, item: RateLimitItemPerMinute, *key: str) -> Taken:
        return self._told(item, self._windows.hit(item, *key), *key)

    def _told(self, item: RateLimitItemPerMinute, allowed: bool, *key: str) -> Taken:
        window = self._windows.get_window_stats(item, *key)
        wait = max(1, math.ceil(window.reset_time - self._clock()))
        return Taken(allowed, item.amount, max(0, window.remaining), wait)


class _Moments(MemoryStorage):
    """The moments of the last requests by key. The library's own storage starts a thread with every request,
    keeps as many keys as there are addresses, and knows no other clock than the machine's."""

    STORAGE_SCHEME = ["skyfill"]  # noqa: RUF012 - as the base class has it

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._kept: OrderedDict[str, deque[float]] = OrderedDict()

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Whether there is room for `amount` more, which is then taken."""
        moments = self._of(key, expiry)
        if len(moments) + amount > limit:
            return False
        moments.extend([self._clock()] * amount)
        self._kept[key] = moments
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST_KEYS:
            self._kept.popitem(last=False)  # the one that was silent for longest
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the window began, and how many are in it."""
        moments = self._of(key, expiry)
        return (moments[0], len(moments)) if moments else (self._clock() - expiry, 0)

    def _of(self, key: str, expiry: int) -> deque[float]:
        moments = self._kept.get(key, deque())
        while moments and moments[0] <= self._clock() - expiry:
            moments.popleft()
        return moments
