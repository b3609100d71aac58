"""Open event streams, counted by token: each costs a connection for as long as its reader likes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api.problems import Problem

OF_ONE_TOKEN = 20
AT_ONCE = 200
_RETRY_SECONDS = 10


class Streams:
    """Life: made, `taken` by each stream, `end` for all of them."""

    def __init__(self, of_one_token: int = OF_ONE_TOKEN, at_once: int = AT_ONCE) -> None:
        self._of_one_token, self._at_once = of_one_token, at_once
        self._open: Counter[str] = Counter()
        self.ending = asyncio.Event()
        """Set once the process ends: a stream that goes on would hold it up."""

    @property
    def count(self) -> int:
        """Streams that are open."""
        return self._open.total()

    def require_room(self, token_id: str) -> None:
        """Problem 429 where the token, or all together, have as many as there may be."""
        if self._open[token_id] >= self._of_one_token or self.count >= self._at_once:
            raise Problem(
                429,
                "too-many-streams",
                f"a token may have {self._of_one_token} event streams open, all together {self._at_once}; "
                f"close one",
                headers={"Retry-After": str(_RETRY_SECONDS)},
            )

    @contextmanager
    def taken(self, token_id: str) -> Iterator[None]:
        """One more while the block lasts."""
        self._open[token_id] += 1
        try:
            yield
        finally:
            self._open[token_id] -= 1
            if not self._open[token_id]:
                del self._open[token_id]

    async def pause(self, seconds: float) -> bool:
        """Waits; whether the stream may go on afterwards."""
        try:
            await asyncio.wait_for(self.ending.wait(), seconds)
        except TimeoutError:
            return True
        return False

    def end(self) -> None:
        """All streams end soon."""
        self.ending.set()
