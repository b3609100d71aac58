"""How far all groups are behind, looked up in the background: a look takes longer than a request should."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from messaging.lag import Lag, LagReader
from schemas.errors import DeploymentError
from schemas.settings import KafkaSettings

_BUSY_SECONDS, _IDLE_SECONDS = 2.0, 15.0
"""Between two looks: while somebody asks, and else, so that there is a trend when somebody does."""
_ASKED_SECONDS = 30.0
_FIRST_SECONDS = 10.0


@dataclass(frozen=True)
class Look:
    """What a look has found, and when."""

    lags: list[Lag]
    at: float
    """By the clock of the look."""


class LagLook:
    """Life: made, `start`, `latest` whenever asked, `stop`; all of it in one event loop."""

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[list[Lag], float], None] = lambda lags, at: None,
    ) -> None:
        """`clock` in seconds; `told` hears of every look, in the event loop."""
        self._kafka, self._clock, self._told = kafka, clock, told
        self._asked = asyncio.Event()
        self._found = asyncio.Event()
        self._asked_at = float("-inf")
        self._latest: Look | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look."""
        self._task = asyncio.create_task(self._run())

    async def latest(self) -> tuple[list[Lag], float]:
        """The last look, and its age in seconds. DeploymentError where there has been none so far."""
        self._asked_at = self._clock()
        self._asked.set()
        if self._latest is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._found.wait(), _FIRST_SECONDS)
        if self._latest is None:
            raise DeploymentError("the broker has not told yet how far the groups are")
        return self._latest.lags, self._clock() - self._latest.at

    async def stop(self) -> None:
        """Ends after the look that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        reader: LagReader | None = None
        while True:
            with contextlib.suppress(DeploymentError):
                if reader is None:
                    reader = await asyncio.to_thread(LagReader, self._kafka)
                lags = await asyncio.to_thread(reader.look)
                self._latest = Look(lags, self._clock())
                self._told(lags, self._latest.at)
                self._found.set()
            await asyncio.sleep(_BUSY_SECONDS)
            if self._clock() - self._asked_at > _ASKED_SECONDS:
                self._asked.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._asked.wait(), _IDLE_SECONDS - _BUSY_SECONDS)
