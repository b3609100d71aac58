"""Keeps a mirror with the PLC directory's log: a first time through all of it, afterwards what is new.

The log is paged by number, since pages by time lose operations of one instant. The directory's limits hold
whatever happens: 500 requests of 1,000 operations in five minutes, and what its answers say beside that.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from atp.limiter import HostLimiter
from atp.plc import OVERLAP_MS, Operation, Position, read_row
from atp.plc_writer import MirrorWriter
from atp.retry import Backoff
from atp.xrpc import Client
from schemas.errors import DeploymentError, IdentityUnreachable, UnexpectedResponse, XrpcError

PAGE = 1000
"""Operations a request; the directory gives no more."""
_JOB = "plc"
_FIRST_STEP = 1 << 20
_NEAR = 1 << 16
_RATE_SECONDS = 30.0


class Progress(NamedTuple):
    """How a sync goes."""

    position: Position | None
    operations: int
    """Read by this sync."""
    per_second: float
    """Operations a second, lately."""
    left: float | None
    """Seconds until the end of the log, about; None: not known."""
    caught_up: bool
    trouble: str = ""
    """Why nothing comes in at the moment."""


class PlcSync:
    """One sync. Life: `estimate` if the time left is of interest, then `run` once."""

    def __init__(
        self,
        mirror: MirrorWriter,
        client: Client,
        *,
        per_second: float,
        tell: Callable[[Progress], None] = lambda _: None,
        limiter: HostLimiter | None = None,
        backoff: Backoff | None = None,
        poll_seconds: float = 10.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``per_second`` bounds the requests. ``clock`` gives seconds since 1970."""
        self._mirror, self._client = mirror, client
        self._directory = mirror.status().directory
        self._rate = per_second
        self._tell, self._clock, self._sleep = tell, clock, sleep
        self._limiter = limiter or HostLimiter(clock, sleep)
        self._backoff = backoff or Backoff(attempts=8, first=1.0, sleep=self._pause)
        self._poll_seconds = poll_seconds
        self._operations = 0
        self._position = mirror.status().position
        self._trouble = ""
        self._end: int | None = None
        self._samples: deque[tuple[float, int]] = deque()

    async def estimate(self) -> None:
        """Finds out, to some ten thousand, how long the log is. About 15 requests."""
        self._end = await self._number_at(None) + _NEAR // 2

    async def run(self, *, follow: bool = False) -> Progress:
        """Reads to the end of the log; with ``follow`` it goes on and never returns.

        Raises IdentityUnreachable where the directory does not answer, or answers something else (not with
        ``follow``, which goes on trying); DeploymentError where the mirror can't be written, or the directory
        has no such log. Whatever ends it: what was read is kept, and the next run goes on behind it.
        """
        position = await self._begin()
        while True:
            try:
                page = await self._page(position.seq or 0, PAGE)
            except IdentityUnreachable:
                if not follow:
                    raise
                await self._pause(self._poll_seconds)
                continue
            for operation in page.operations:
                position = position.after(operation)
            at_end = page.rows < PAGE
            self._position = position if position.seq is not None else None
            self._mirror.apply(page.operations, self._position, caught_up=self._clock() if at_end else None)
            self._operations += page.rows
            progress = self._progress(caught_up=at_end)
            self._tell(progress)
            if at_end and not follow:
                return progress
            if at_end:
                await self._sleep(self._poll_seconds)

    async def _begin(self) -> Position:
        """Where to go on. What was imported by time is met again an hour before its end."""
        position = self._position
        if position is None:
            return Position(None, -1)
        if position.seq is None:
            return Position(await self._number_at(position.created - OVERLAP_MS), position.created)
        return position

    async def _number_at(self, created: int | None) -> int:
        """A number whose operation is older than this time, and not far from it; for None, from the end."""
        low, high = 0, _FIRST_STEP
        while await self._is_older(high, created):
            low, high = high, high * 2
        while high - low > _NEAR:
            middle = (low + high) // 2
            if await self._is_older(middle, created):
                low = middle
            else:
                high = middle
        return low

    async def _is_older(self, seq: int, created: int | None) -> bool:
        """Whether what follows this number in the log is older than a time."""
        page = await self._page(seq, 1)
        return bool(page.operations) and (created is None or page.operations[0].created < created)

    async def _page(self, after: int, count: int) -> _Page:
        return await self._backoff.run(f"{self._directory}/export", lambda: self._ask(after, count))

    async def _ask(self, after: int, count: int) -> _Page:
        try:
            async with self._limiter.turn("export", _JOB, self._rate) as turn:
                answer = await self._client.get_bytes(
                    f"{self._directory}/export", {"after": after, "count": count}, trusted=True
                )
                turn.answered(answer.headers)
            return _read(self._directory, answer.body, after)
        except XrpcError as error:
            self._trouble = str(error)
            raise

    async def _pause(self, seconds: float) -> None:
        """Before the next try; whoever looks on learns why nothing comes in."""
        self._tell(self._progress(caught_up=False)._replace(trouble=self._trouble))
        await self._sleep(seconds)

    def _progress(self, *, caught_up: bool) -> Progress:
        now = self._clock()
        self._samples.append((now, self._operations))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_SECONDS:
            self._samples.popleft()
        since, before = self._samples[0]
        per_second = (self._operations - before) / (now - since) if now > since else 0.0
        left: float | None = None
        if caught_up:
            left = 0.0
        elif self._end is not None and self._position is not None and self._position.seq is not None:
            left = max(0, self._end - self._position.seq) / (per_second or self._rate * PAGE)
        return Progress(self._position, self._operations, per_second, left, caught_up)


class _Page(NamedTuple):
    operations: list[Operation]
    rows: int
    """Of any kind."""


def _read(directory: str, body: bytes, after: int) -> _Page:
    """The operations of a page. UnexpectedResponse where its numbers don't go up from ``after``."""
    lines = [line for line in body.split(b"\n") if line.strip()]
    operations = []
    for number, line in enumerate(lines, 1):
        try:
            operation = read_row(line)
        except ValueError as error:
            message = f"{directory}/export?after={after}: row {number} is {error}"
            raise UnexpectedResponse(message, 200) from error
        if operation is None:
            continue
        if operation.seq is None:
            raise DeploymentError(
                f"{directory} does not number its operations, so its log can't be followed; import a file "
                f"with `skyfill plc import`, or set SKYFILL_NETWORK__PLC_URL to a directory that numbers them"
            )
        if operation.seq <= after:
            message = f"{directory}/export?after={after}: row {number} has the number {operation.seq}"
            raise UnexpectedResponse(message, 200)
        after = operation.seq
        operations.append(operation)
    if len(lines) >= PAGE and not operations:
        raise DeploymentError(
            f"{directory}/export?after={after} has only rows of kinds that this skyfill does not know"
        )
    return _Page(operations, len(lines))
