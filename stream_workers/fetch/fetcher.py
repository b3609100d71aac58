"""One go at one account: ask the host, prove the repository, or say why not and what is to come of it.

Nothing is published from here, so a go may be broken off at any point.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from atp import repo
from atp.blame import blame_for
from atp.identity import Identity, Resolver
from atp.limiter import HostLimiter, HostPaused
from atp.xrpc import Client
from schemas.backfill import Processing
from schemas.dids import DidTask
from schemas.errors import (
    BlockMissing,
    CarTruncated,
    IdentityError,
    IdentityUnreachable,
    RateLimited,
    RepoDeactivated,
    RepoError,
    RepoNotFound,
    RepoUnavailable,
    SignatureInvalid,
    SkyfillError,
    UnexpectedResponse,
    XrpcError,
)
from schemas.job_specs import JobSpec
from stream_workers.fetch.budget import ByteBudget, Spool
from stream_workers.fetch.ending import Ending, Failed, Fetched, Requeued, Retry, Waiting, failed, host_word
from stream_workers.fetch.events import RepoEvents
from stream_workers.fetch.selection import Selection

_log = logging.getLogger("skyfill.fetch")
_RETRY_BASE = 1.0
_RETRY_MOST = 300.0
_REFETCHES = 2
"""Downloads repeated at once for a missing block: hosts stream without a snapshot."""
_MOST_REFUSALS = 30
"""429 answers that one go puts up with before it spends an attempt."""
_MAX_MOVES = 1


class Fetcher:
    """Fetches accounts for all jobs; `fetch` may run many times at once."""

    def __init__(
        self,
        client: Client,
        resolver: Resolver,
        budget: ByteBudget,
        reader: Executor,
        *,
        spool_bytes: int,
        spool_folder: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`reader` runs the reading of repositories beside the event loop; one thread is right."""
        self._client, self._resolver, self._budget, self._reader = client, resolver, budget, reader
        self._spool_bytes, self._spool_folder, self._clock = spool_bytes, spool_folder, clock

    async def fetch(
        self, task: DidTask, spec: JobSpec, selection: Selection, limiter: HostLimiter
    ) -> Ending | Waiting:
        """The ending of one go, or none yet. A `Fetched` holds memory until its spool is closed."""
        started = self._clock()
        processing = spec.backfill.processing
        try:
            ending = await self._go(task, processing, selection, limiter)
        except HostPaused as pause:
            return Waiting(pause.until)
        except (BlockMissing, CarTruncated, XrpcError, IdentityUnreachable) as error:
            ending = self._again_or_failed(task, processing, error)
        except (RepoError, IdentityError) as error:
            ending = failed(error)
        except OSError as error:
            ending = self._again_or_failed(task, processing, _disk_error(error))
        except SkyfillError as error:
            ending = failed(error)
        except Exception as error:  # a restart would meet the same task again, and again
            _log.exception("%s met an unexpected error", task.did)
            ending = Failed("failed", "processing_failed", type(error).__name__, str(error))
        if isinstance(ending, Fetched | Failed | Retry):
            ending.seconds = self._clock() - started
        return ending

    async def _go(
        self, task: DidTask, processing: Processing, selection: Selection, limiter: HostLimiter
    ) -> Ending:
        refetches = refusals = 0
        while True:
            try:
                return await self._download(task, processing, selection, limiter)
            except RateLimited:
                refusals += 1
                if refusals >= _MOST_REFUSALS:
                    raise
            except BlockMissing:
                refetches += 1
                if refetches > _REFETCHES:
                    raise
            except (RepoNotFound, RepoDeactivated) as error:
                return await self._moved_or_gone(task, error)
            except RepoUnavailable as error:
                return failed(error)

    async def _download(
        self, task: DidTask, processing: Processing, selection: Selection, limiter: HostLimiter
    ) -> Ending:
        await self._budget.room()
        spool = Spool(self._budget, self._spool_bytes, self._spool_folder)
        try:
            await self._receive(spool, task, processing, limiter)
            return await self._prove(spool, task, selection)
        except BaseException:
            spool.close()
            raise

    async def _receive(
        self, spool: Spool, task: DidTask, processing: Processing, limiter: HostLimiter
    ) -> None:
        async with (
            limiter.turn("getRepo", task.job_id, processing.requests_per_second) as turn,
            self._client.get_repo(task.pds, task.did, total=processing.timeout_seconds) as download,
        ):
            turn.answered(download.headers)
            async for chunk in download:
                spool.write(chunk)

    async def _prove(self, spool: Spool, task: DidTask, selection: Selection) -> Ending:
        try:
            return await self._read(spool, task, selection, task.signing_key)
        except SignatureInvalid:
            identity = await self._resolver.resolve(task.did, fresh=True)
            if identity.pds != task.pds and task.moves < _MAX_MOVES:
                spool.close()
                return _follow(task, identity)
            if identity.signing_key == task.signing_key:
                raise
            return await self._read(spool, task, selection, identity.signing_key)

    async def _read(self, spool: Spool, task: DidTask, selection: Selection, signing_key: str) -> Fetched:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, self._read_here, spool, task, selection, signing_key)

    def _read_here(self, spool: Spool, task: DidTask, selection: Selection, signing_key: str) -> Fetched:
        now = self._clock()
        proven = repo.read(spool.content(), task.did, signing_key, now=now)
        events = RepoEvents(proven, task.job_id, task.pds, selection, now)
        messages = None if spool.on_disk else list(events)
        return Fetched(proven.rev, proven.commit, spool.size, events, messages, spool, 0.0)

    async def _moved_or_gone(self, task: DidTask, error: RepoUnavailable) -> Ending:
        """Before a host's word is taken for an account's end, the directory is asked past the cache."""
        identity = await self._resolver.resolve(task.did, fresh=True)
        if identity.pds != task.pds and task.moves < _MAX_MOVES:
            return _follow(task, identity)
        return failed(error)

    def _again_or_failed(self, task: DidTask, processing: Processing, error: SkyfillError) -> Ending:
        if task.attempt > processing.max_retries or not _may_pass(error):
            return failed(error)
        delay = min(_RETRY_MOST, _RETRY_BASE * 2 ** (task.attempt - 1)) * random.uniform(0.75, 1.25)
        if isinstance(error, RateLimited) and error.retry_after is not None:
            delay = max(delay, min(error.retry_after, _RETRY_MOST))
        _log.info("%s will be tried again in %.0f s: %s", task.did, delay, error)
        return Retry(error.error_type, error.reason, str(error), delay, host=host_word(error))


def _follow(task: DidTask, identity: Identity) -> Requeued:
    return Requeued(
        task.model_copy(
            update={
                "pds": identity.pds,
                "signing_key": identity.signing_key,
                "handle": identity.handle,
                "moves": task.moves + 1,
                "not_before": None,
            }
        )
    )


def _may_pass(error: SkyfillError) -> bool:
    if isinstance(error, XrpcError) and blame_for(error) == "host":
        return True
    if isinstance(error, UnexpectedResponse):
        return error.status >= 500 or error.status in (200, 408, 425)
    return error.error_type != "scope_violation"


def _disk_error(error: OSError) -> SkyfillError:
    return SkyfillError(f"a download could not be kept: {error}; look at the free space under data_dir")
