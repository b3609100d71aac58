"""One job's plan on its way through the source: page by page, each account once, chunk by chunk.

A chunk's work goes on between its owner's turns, so that a slow directory holds up neither commands nor
other jobs. Whoever drops a plan loses nothing: the next one goes on from the checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

from atp.identity import Identity
from producers.chunk import Chunk, shortened
from producers.draft import Draft
from producers.resolve import Resolves, account_of, resolve_all
from producers.seen import SeenAccounts
from producers.sources.base import AccountSource, Entry, Page
from schemas.errors import SkyfillError
from schemas.job_specs import JobSpec
from schemas.plans import PlanCheckpoint
from schemas.scope import ScopeJudge

_log = logging.getLogger("skyfill.planner")
_FORGOTTEN = (
    "the accounts planned before are not known to this planner any more (another machine's, or a lost data "
    "folder), and this source can't be read again: an account that it names again gets a second task"
)


class JobPlan:
    """Life: made from a checkpoint, `chunk` again and again until it is finished, `close`.

    Accounts met before the checkpoint stand in a file. Where that is missing, sources that can be read again
    are, up to the checkpoint: DIDs are known as they stand, handles are resolved once more.
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
        """`folder` has the tables of accounts met; `concurrency` is resolutions at once."""
        self._batch_size = spec.backfill.processing.batch_size
        self._scope = ScopeJudge(spec.backfill.scope)
        self._checkpoint = checkpoint
        self._source = source
        self._resolver = resolver
        self._concurrency = concurrency
        self._chunk_seconds = chunk_seconds
        self._now, self._monotonic = now, monotonic
        self._seen = SeenAccounts(
            folder,
            spec.job_id,
            name=secrets.token_hex(8),
            wanted=checkpoint.seen,
            chunk=checkpoint.chunk,
        )
        self._recollected = self._seen.complete
        self._reading: AsyncGenerator[Page, None] | None = None
        self._exhausted = False
        self._failure: str | None = None
        self._notes: list[str] = []
        self._work: asyncio.Task[Chunk] | None = None

    async def chunk(self, patience: float) -> Chunk | None:
        """The next chunk, or None if it is not ready within `patience` seconds: ask again.

        The chunk has to be published before the next one is asked for; if that fails, drop the plan.
        """
        if self._work is None:
            self._work = asyncio.create_task(self._advance())
        await asyncio.wait({self._work}, timeout=patience)
        if not self._work.done():
            return None
        chunk = self._work.result()
        self._work = None
        self._checkpoint = chunk.checkpoint
        return chunk

    async def close(self) -> None:
        """Drops the work in progress and gives the files back."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait({self._work})
        if self._reading is not None:
            await self._reading.aclose()
        self._seen.close()

    async def _advance(self) -> Chunk:
        """New pages to tasks, as many as a batch or the time allows."""
        if not self._recollected:
            await self._recollect()
        draft = Draft(self._checkpoint, self._seen, self._scope, self._now, self._notes)
        self._notes = []
        if self._failure is None:
            pages = self._pages_of(draft)
            draft.settle(await resolve_all(self._resolver, pages, self._concurrency, draft.resolved))
        finished = self._exhausted or self._failure is not None
        return draft.chunk(finished=finished, failure=self._failure)

    async def _pages_of(self, draft: Draft) -> AsyncGenerator[list[Entry], None]:
        """What is to be resolved of the next pages. Ends with a batch, the time, or the source."""
        deadline = self._monotonic() + self._chunk_seconds
        page = await self._next_page()
        while page is not None:
            yield draft.take(page)
            full = draft.accounts + self._source.page_entries > self._batch_size
            if full or self._monotonic() >= deadline:
                return
            page = await self._next_page()

    async def _next_page(self) -> Page | None:
        if self._reading is None:
            self._reading = self._source.pages(self._checkpoint.cursor)
        page = await self._next_of(self._reading)
        self._exhausted = page is None and self._failure is None
        return page

    async def _recollect(self) -> None:
        """Fills the table of accounts met with those before the checkpoint."""
        cursor, chunk = self._checkpoint.cursor, self._checkpoint.chunk
        again = None if cursor is None else self._source.again(cursor)
        if again is None:
            if cursor is not None:
                _log.warning("job %s: %s", self._checkpoint.job_id, _FORGOTTEN)
                self._notes.append(_FORGOTTEN)
        else:
            async with aclosing(again):
                while page := await self._next_of(again):
                    accounts = {account_of(entry.account) for entry in page.entries}
                    handles = [Entry(account) for account in accounts if not account.startswith("did:")]
                    answers = await resolve_all(self._resolver, _alone(handles), self._concurrency)
                    dids = {answer.did for _, answer in answers if isinstance(answer, Identity)}
                    self._seen.add(accounts | dids, chunk)
        self._recollected = True

    async def _next_of(self, pages: AsyncGenerator[Page, None]) -> Page | None:
        """None at the end of the pages, or where their source fails."""
        try:
            return await anext(pages, None)
        except Exception as error:
            self._fail(error)
            return None

    def _fail(self, error: Exception) -> None:
        """Ends this job's plan; an error of its source would otherwise end every planner in turn."""
        if isinstance(error, SkyfillError):
            self._failure = shortened(str(error))
        else:
            _log.exception("reading %s failed unexpectedly", self._source.name, exc_info=error)
            self._failure = shortened(f"{self._source.name}: {type(error).__name__}: {error}")


async def _alone(entries: list[Entry]) -> AsyncGenerator[list[Entry], None]:
    yield entries
