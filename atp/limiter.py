"""How fast one host may be asked: what it advertises, what it punishes, and what the job allows.

Whoever asks a host holds its one limiter, so no coordination is needed. Times are seconds of the injected
clock (since 1970); the functions compute, only `acquire` waits.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from schemas.errors import RateLimited, XrpcError

_EPOCH_LIKE = 10**8
"""A reset above this is seconds since 1970, below it seconds from now."""
_LEAST_RATE = 0.2
_CREEP = 1.02
_UNTOLD_PAUSE = 2.0
_LONGEST_PAUSE = 3600.0
"""No host may stop a job for longer than this at once, whatever it says."""


@dataclass
class Window:
    """What a host said of its present window."""

    limit: int
    remaining: int
    reset_at: float


class Turn:
    """One request that may be sent now. Whoever gets an answer says so with `answered`."""

    def __init__(self, limiter: HostLimiter) -> None:
        self._limiter = limiter

    def answered(self, headers: Mapping[str, str]) -> None:
        """The head of an answer came. Errors need no word: they carry their headers."""
        self._limiter.answered(headers)


class HostLimiter:
    """Life: a `turn` for each request, which is `acquire`, `answered` or `refused`, and `released` in one."""

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` gives seconds since 1970."""
        self._clock, self._sleep = clock, sleep
        self._window: Window | None = None
        self._blocked_until = 0.0
        self._learnt_rate: float | None = None
        self._next_at: dict[str, float] = {}
        self._next_learnt_at = 0.0
        self._in_flight = 0

    @asynccontextmanager
    async def turn(self, kind: str, job_id: str, rate: float) -> AsyncIterator[Turn]:
        """Waits for a turn; the request belongs inside, from its sending to the last byte of its answer.

        `kind` is the last word of the XRPC method, e.g. `getRepo`: hosts count some of them apart. `rate` is
        the job's requests per second. What the request raises passes through.
        """
        await self.acquire(job_id, rate)
        try:
            yield Turn(self)
        except RateLimited as error:
            self.refused(error.headers or {}, error.retry_after, rate)
            raise
        except XrpcError as error:
            self.answered(error.headers or {})
            raise
        finally:
            self.released()

    async def acquire(self, job_id: str, rate: float) -> None:
        """Waits for this job's turn at the host; `rate` is the job's requests per second."""
        while (wait := self.delay(job_id, rate)) > 0:
            await self._sleep(wait)
        self.take(job_id, rate)

    def delay(self, job_id: str, rate: float) -> float:
        """Seconds until a request may be sent; 0: now."""
        now = self._clock()
        ready = max(self._blocked_until, self._next_at.get(job_id, 0.0))
        if self._learnt_rate is not None:
            ready = max(ready, self._next_learnt_at)
        window = self._window
        if window and window.reset_at > now and window.remaining - self._in_flight <= 0:
            ready = max(ready, window.reset_at)
        return max(0.0, ready - now)

    def take(self, job_id: str, rate: float) -> None:
        """A request is about to be sent."""
        now = self._clock()
        self._in_flight += 1
        self._next_at[job_id] = max(now, self._next_at.get(job_id, 0.0)) + 1 / rate
        if self._learnt_rate is not None:
            self._next_learnt_at = max(now, self._next_learnt_at) + 1 / self._learnt_rate

    def released(self) -> None:
        """A request that was taken has its answer, or failed without one."""
        self._in_flight -= 1

    def answered(self, headers: Mapping[str, str]) -> None:
        """Any answer that is not a 429."""
        self._read_window(headers)
        if self._learnt_rate is not None:
            self._learnt_rate *= _CREEP

    def refused(self, headers: Mapping[str, str], retry_after: float | None, rate: float) -> None:
        """A 429. Without a word on when to come back, the host is asked half as often as before."""
        now = self._clock()
        self._read_window(headers)
        if retry_after is not None:
            self._blocked_until = max(self._blocked_until, now + min(retry_after, _LONGEST_PAUSE))
        elif self._window and self._window.reset_at > now and self._window.remaining == 0:
            self._blocked_until = max(self._blocked_until, self._window.reset_at)
        elif now >= self._blocked_until:  # one lesson for all that were under way together
            # Never half of a pace that crept up beyond the job's own: that would teach nothing.
            self._learnt_rate = max(_LEAST_RATE, min(self._learnt_rate or rate, rate) / 2)
            self._blocked_until = now + _UNTOLD_PAUSE

    def _read_window(self, headers: Mapping[str, str]) -> None:
        limit = _number(headers.get("RateLimit-Limit"))
        remaining = _number(headers.get("RateLimit-Remaining"))
        reset = _number(headers.get("RateLimit-Reset"))
        if limit is None or remaining is None or reset is None:
            return
        now = self._clock()
        if reset >= _EPOCH_LIKE:
            # The host's clock may differ from ours: what counts is the time from its Date on. Both are cut
            # to whole seconds, so the window may end up to one later.
            reset = reset - (_http_date(headers.get("Date")) or now) + 1
        reset_at = now + min(max(0.0, reset), _LONGEST_PAUSE)
        old = self._window
        if old and old.reset_at > now and abs(old.reset_at - reset_at) < 2:  # answers overtake each other
            remaining = min(remaining, old.remaining)
        self._window = Window(int(limit), int(remaining), reset_at)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _http_date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None
