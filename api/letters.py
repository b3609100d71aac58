"""Dead letters for requests: read off the event loop, few readers at once, each for a bounded time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from messaging.letters import LetterReader
from messaging.replaying import Chosen, SortedOut, sorted_out
from schemas.deadletter import DeadLetter, LetterId
from schemas.errors import DeploymentError
from schemas.replays import Replay
from schemas.settings import KafkaSettings

T = TypeVar("T")
_READERS = 2
_PAGE_SECONDS = 3.0
_RETRY_SECONDS = 60.0
MOST_RETRIED = 100_000
"""Letters that one request may ask to replay."""


@dataclass(frozen=True)
class Page:
    """Some letters in the order of their ids, and where the next page begins."""

    letters: list[tuple[LetterId, DeadLetter]]
    onward: LetterId | None
    """Absent: there are no more."""


class Letters:
    """Life: made, asked by many at once, `close`."""

    def __init__(self, kafka: KafkaSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Connects at the first question."""
        self._kafka, self._clock = kafka, clock
        self._own = threading.local()
        self._readers: list[LetterReader] = []
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="letters")

    async def page(
        self, chosen: Chosen, onward: LetterId | None, limit: int, replays: Mapping[str, Replay]
    ) -> Page:
        """At most `limit` letters from `onward` on. A page may be short, or empty, and not be the last: a
        request reads for some seconds at the most. DeploymentError if the broker does not answer."""
        return await self._read(lambda reader: self._page(reader, chosen, onward, limit, dict(replays)))

    async def replayable(
        self, job_id: str, since: datetime | None, replays: Mapping[str, Replay]
    ) -> SortedOut:
        """All letters of a job that were not replayed yet, sorted by whether they may be.

        DeploymentError where there are more than MOST_RETRIED, or reading them takes more than a minute.
        """
        return await self._read(lambda reader: self._replayable(reader, job_id, since, dict(replays)))

    async def named(self, job_id: str, ids: list[LetterId], replays: Mapping[str, Replay]) -> SortedOut:
        """These letters of a job. DeploymentError if the broker does not answer."""

        def read(reader: LetterReader) -> SortedOut:
            found: list[tuple[LetterId, DeadLetter]] = []
            missing = SortedOut()
            for one in reader.named(ids):
                if one.letter is None:
                    missing.skipped[one.why] += 1
                elif one.letter.job_id != job_id:
                    missing.skipped["it belongs to another job"] += 1
                else:
                    found.append((one.id, _light(one.letter)))
            result = sorted_out(found, kept, (), named=True)
            result.skipped.update(missing.skipped)
            return result

        kept = dict(replays)
        return await self._read(read)

    async def close(self) -> None:
        """Leaves the topic, after what is under way."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
        for reader in self._readers:
            reader.close()

    async def _read(self, read: Callable[[LetterReader], T]) -> T:
        def work() -> T:
            if not hasattr(self._own, "reader"):
                self._own.reader = LetterReader(self._kafka)
                self._readers.append(self._own.reader)
            return read(self._own.reader)

        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _page(
        self,
        reader: LetterReader,
        chosen: Chosen,
        onward: LetterId | None,
        limit: int,
        replays: dict[str, Replay],
    ) -> Page:
        found: list[tuple[LetterId, DeadLetter]] = []
        until = self._clock() + _PAGE_SECONDS
        for letter_id, letter in reader.since(chosen.since, onward):
            if len(found) == limit:
                return Page(found, letter_id)
            if chosen.holds(letter_id, letter, replays):
                found.append((letter_id, _light(letter)))
            if self._clock() > until:
                return Page(found, LetterId(letter_id.partition, letter_id.offset + 1))
        return Page(found, None)

    def _replayable(
        self, reader: LetterReader, job_id: str, since: datetime | None, replays: dict[str, Replay]
    ) -> SortedOut:
        found: list[tuple[LetterId, DeadLetter]] = []
        chosen = Chosen(job=job_id, since=since, replayed=False)
        until = self._clock() + _RETRY_SECONDS
        for letter_id, letter in reader.since(since):
            if chosen.holds(letter_id, letter, replays):
                found.append((letter_id, _light(letter)))
            if len(found) > MOST_RETRIED or self._clock() > until:
                raise DeploymentError(
                    f"there are too many dead letters for one request; `skyfill retry {job_id}` can"
                )
        return sorted_out(found, replays, (), named=False)


def _light(letter: DeadLetter) -> DeadLetter:
    """Without what may be large."""
    return letter.model_copy(update={"block": None, "payload": None})
