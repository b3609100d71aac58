"""Patience with directories: a short outage or a full bucket costs a moment, not an account.

Only what may pass by itself is tried again; how long to wait is the server's to say, within bounds.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from schemas.errors import AddressForbidden, IdentityUnreachable, RateLimited, XrpcError

T = TypeVar("T")


class Backoff:
    """Tries a few times. Waits double from ``first`` seconds, with jitter, up to ``longest``."""

    def __init__(
        self,
        *,
        attempts: int = 5,
        first: float = 0.5,
        longest: float = 60.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._attempts = attempts
        self._first = first
        self._longest = longest
        self._sleep = sleep

    async def run(self, subject: str, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer of ``ask``. What XrpcError remains in the end becomes IdentityUnreachable.

        Except AddressForbidden: that is no failure of the network, and passes through.
        """
        attempt = 1
        while True:
            try:
                return await ask()
            except AddressForbidden:
                raise
            except XrpcError as error:
                if attempt >= self._attempts or not error.may_pass:
                    raise IdentityUnreachable(f"{subject}, attempt {attempt}: {error}") from error
                await self._sleep(self._wait(error, attempt))
            attempt += 1

    def _wait(self, error: XrpcError, attempt: int) -> float:
        if isinstance(error, RateLimited) and error.retry_after is not None:
            return min(error.retry_after, self._longest)
        return min(self._first * 2.0 ** (attempt - 1), self._longest) * random.uniform(0.5, 1.0)
