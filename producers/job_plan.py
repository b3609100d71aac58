"""One job's plan on its way through the source: entry by entry, each account once, chunk by chunk.

A chunk's work goes on between its owner's turns, so that a slow directory holds up neither commands nor
other jobs. Whoever drops a plan loses nothing: the next one goes on from the checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from producers.chunk import Chunk, shortened, task_of, unresolved
from producers.resolve import Resolution, Resolves, account_of, resolve_all
from producers.seen import SeenAccounts
from producers.sources import AccountSource
from schemas.errors import SourceError
from schemas.job_specs import JobSpec
from schemas.plans import PlanCheckpoint

_log = logging.getLogger("skyfill.planner")


class JobPlan:
    """Life: made from a checkpoint, `chunk` again and again until it is finished, `close`.

    After a restart the entries before the checkpoint are read again: their accounts must be known, or one
    named on both sides of the checkpoint would get two tasks. DIDs are known as they stand; handles are
    resolved once more. A handle that changed hands meanwhile, or whose directory is silent then, may so be
    planned a second time under its DID if the source names that DID too. That is the only such case.
    """

    def __init__(
        self,
        spec: JobSpec,
        checkpoint: PlanCheckpoint,
        source: AccountSource,
        resolver: Resolves,
        *,
        folder: Path,
        concurrency: int,
        chunk_seconds: float,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder` takes the table of accounts seen; `concurrency` is resolutions at once."""
        self._job_id = spec.job_id
        self._batch_size = spec.backfill.processing.batch_size
        self._checkpoint = checkpoint
        self._entries = source.entries()
        self._source_name = source.name
        self._resolver = resolver
        self._concurrency = concurrency
        self._chunk_seconds = chunk_seconds
        self._now, self._monotonic = now, monotonic
        self._seen = SeenAccounts(folder)
        self._cursor = self._checksum = self._duplicates = 0
        self._exhausted = False
        self._failure: str | None = None
        self._work: asyncio.Task[Chunk | None] | None = None

    async def chunk(self, patience: float) -> Chunk | None:
        """The next chunk, or None if it is not ready within `patience` seconds: ask again.

        The chunk has to be published before the next one is asked for; if that fails, drop the plan.
        """
        if self._work is None:
            behind = self._cursor < self._checkpoint.cursor
            self._work = asyncio.create_task(self._recollect() if behind else self._advance())
        await asyncio.wait({self._work}, timeout=patience)
        if not self._work.done():
            return None
        chunk = self._work.result()
        self._work = None
        if chunk is not None:
            self._checkpoint = chunk.checkpoint
        return chunk

    async def close(self) -> None:
        """Drops the work in progress and gives the files back."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait({self._work})
        self._entries.close()
        self._seen.close()

    async def _advance(self) -> Chunk:
        """New entries to tasks, as many as a batch or the time allows."""
        duplicates = self._checkpoint.duplicates
        answers = await resolve_all(self._resolver, self._accounts(None), self._concurrency)
        tasks, outcomes, letters = [], [], []
        for resolution in answers:
            if isinstance(resolution.answer, Exception):
                outcome, letter = unresolved(self._job_id, resolution, self._now())
                outcomes.append(outcome)
                letters += [letter] if letter else []
            elif self._is_new(resolution):
                tasks.append(task_of(self._job_id, resolution.answer))
            else:
                self._duplicates += 1
        checkpoint = PlanCheckpoint(
            job_id=self._job_id,
            cursor=self._cursor,
            checksum=self._checksum,
            planned=self._checkpoint.planned + len(tasks) + len(outcomes),
            duplicates=duplicates + self._duplicates,
            finished=self._exhausted or self._failure is not None,
        )
        self._duplicates = 0
        return Chunk(tasks, outcomes, letters, checkpoint, self._failure)

    async def _recollect(self) -> Chunk | None:
        """Entries before the checkpoint, only to know their accounts. A chunk comes of it only on failure."""
        accounts = self._accounts(self._checkpoint.cursor)
        handles = (account for account in accounts if not account.startswith("did:"))
        for resolution in await resolve_all(self._resolver, handles, self._concurrency):
            if not isinstance(resolution.answer, Exception):
                self._is_new(resolution)
        self._duplicates = 0
        if self._cursor < self._checkpoint.cursor and not self._exhausted and self._failure is None:
            return None
        if self._failure is None and (self._cursor, self._checksum) != (
            self._checkpoint.cursor,
            self._checkpoint.checksum,
        ):
            self._failure = (
                f"{self._source_name} changed while its job was being planned: its first "
                f"{self._checkpoint.cursor} entries are not those read before; submit a new job"
            )
        if self._failure is None:
            return None
        finished = self._checkpoint.model_copy(update={"finished": True})
        return Chunk([], [], [], finished, self._failure)

    def _is_new(self, resolution: Resolution) -> bool:
        """Whether the DID was not met before. An entry that is a DID itself was judged when it was read."""
        assert not isinstance(resolution.answer, Exception)
        did = resolution.answer.did
        return did == resolution.account or self._seen.add(did)

    def _accounts(self, until: int | None) -> Iterator[str]:
        """Accounts not met before, of the entries from the cursor on; moves the cursor.

        Ends after a batch, when the time is up, at position `until`, or with the source.
        """
        deadline = self._monotonic() + self._chunk_seconds
        begin, given = self._cursor, 0
        while self._cursor != until and given < self._batch_size:
            if self._cursor > begin and self._monotonic() >= deadline:
                return
            try:
                entry = next(self._entries, None)
            except SourceError as error:
                self._failure = shortened(str(error))
                return
            except Exception as error:  # ends this job, where it would otherwise end every planner in turn
                _log.exception("reading %s failed unexpectedly", self._source_name)
                self._failure = shortened(f"{self._source_name}: {type(error).__name__}: {error}")
                return
            if entry is None:
                self._exhausted = True
                return
            self._cursor += 1
            self._checksum = zlib.crc32(entry.encode("utf-8", "replace") + b"\n", self._checksum)
            account = account_of(entry)
            if self._seen.add(account):
                given += 1
                yield account
            else:
                self._duplicates += 1
