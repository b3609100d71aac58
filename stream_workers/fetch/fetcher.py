"""One go at one account: ask the host, prove the repository, or say why not and what is to come of it.

Nothing is published from here, so a go may be broken off at any point.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from atp.identity import Resolver
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
    SkyfillError,
    XrpcError,
)
from schemas.job_specs import JobSpec
from stream_workers.fetch.auto_strategy import AutoStrategy
from stream_workers.fetch.budget import ByteBudget
from stream_workers.fetch.ending import (
    Ending,
    Failed,
    Fetched,
    Retry,
    Unchanged,
    Waiting,
    failed,
    host_word,
)
from stream_workers.fetch.kept import KeptDownloads
from stream_workers.fetch.list_strategy import ListStrategy
from stream_workers.fetch.moves import moved_or_gone, within_scope
from stream_workers.fetch.order import FetchStrategy, Means, Order, Refusals
from stream_workers.fetch.repo_strategy import RepoStrategy
from stream_workers.fetch.selection import Selection
from stream_workers.fetch.since_strategy import SinceStrategy

_log = logging.getLogger("skyfill.fetch")
_RETRY_BASE = 1.0
_RETRY_MOST = 300.0
_KEPT_SHARE = 8
"""Of the budget, the part that downloads may take which are kept in case their task comes back."""
_REFETCHES = 2
"""Downloads repeated at once for a missing block: hosts stream without a snapshot."""


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
        kept: Callable[[str], None] = lambda result: None,
    ) -> None:
        """`reader` runs the reading of repositories beside the event loop; `kept` is told what became of each
        download that was kept."""
        self._resolver, self._clock = resolver, clock
        self._kept = KeptDownloads(budget.total // _KEPT_SHARE, told=kept)
        means = Means(client, budget, reader, self._kept, spool_bytes, spool_folder, clock)
        repo, listing = RepoStrategy(means, resolver), ListStrategy(means)
        auto = AutoStrategy(repo, listing, _is_final, clock)
        self._strategies: dict[str, FetchStrategy] = {"repo": repo, "list": listing, "auto": auto}
        self._since = SinceStrategy(means, resolver, self._strategies)

    async def fetch(
        self, task: DidTask, spec: JobSpec, selection: Selection, limiter: HostLimiter
    ) -> Ending | Waiting:
        """The ending of one go, or none yet. A `Fetched` holds memory until its spool is closed."""
        started = self._clock()
        processing = spec.backfill.processing
        try:
            ending = within_scope(await self._go(task, processing, selection, limiter), task, spec)
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
        if isinstance(ending, Fetched | Unchanged | Failed | Retry):
            ending.seconds = self._clock() - started
        return ending

    def keep(self, task: DidTask, ending: Fetched) -> None:
        """Takes over what could not be published, in case the task comes back."""
        if ending.strategy == "repo":
            self._kept.keep(task, ending.spool)
        else:
            ending.spool.close()

    def close(self) -> None:
        """Drops what was kept."""
        self._kept.close()

    async def _go(
        self, task: DidTask, processing: Processing, selection: Selection, limiter: HostLimiter
    ) -> Ending:
        order = Order(task, processing, selection, limiter, Refusals())
        strategy = self._since if task.since_commit else self._strategies[processing.strategy]
        refetches = 0
        while True:
            try:
                return await strategy.fetch(order)
            except RateLimited as error:
                order.refusals.another(error)
            except BlockMissing:
                refetches += 1
                if refetches > _REFETCHES:
                    raise
            except (RepoNotFound, RepoDeactivated) as error:
                return await moved_or_gone(self._resolver, task, error)
            except RepoUnavailable as error:
                return failed(error)

    def _again_or_failed(self, task: DidTask, processing: Processing, error: SkyfillError) -> Ending:
        if task.attempt > processing.max_retries or not _may_pass(error):
            return failed(error)
        delay = min(_RETRY_MOST, _RETRY_BASE * 2 ** (task.attempt - 1)) * random.uniform(0.75, 1.25)
        if isinstance(error, RateLimited) and error.retry_after is not None:
            delay = max(delay, min(error.retry_after, _RETRY_MOST))
        _log.info("%s will be tried again in %.0f s: %s", task.did, delay, error)
        return Retry(error.error_type, error.reason, str(error), delay, host=host_word(error))


def _is_final(order: Order, error: SkyfillError) -> bool:
    return order.task.attempt > order.processing.max_retries or not _may_pass(error)


def _may_pass(error: SkyfillError) -> bool:
    return error.may_pass if isinstance(error, XrpcError) else True


def _disk_error(error: OSError) -> SkyfillError:
    return SkyfillError(f"a download could not be kept: {error}; look at the free space under data_dir")
