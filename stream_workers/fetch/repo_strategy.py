"""Strategy `repo`: the whole repository as one CAR, proven up to the account's signature."""

from __future__ import annotations

from functools import partial

from atp import repo
from atp.identity import Resolver
from stream_workers.fetch.budget import Spool
from stream_workers.fetch.ending import Fetched, Requeued
from stream_workers.fetch.moves import proven
from stream_workers.fetch.order import Means, Order


class RepoStrategy:
    """See FetchStrategy."""

    def __init__(self, means: Means, resolver: Resolver) -> None:
        """`resolver` is asked where a signature does not hold."""
        self._means, self._resolver = means, resolver

    async def fetch(self, order: Order) -> Fetched | Requeued:
        """Raises RepoError's subclasses for what does not prove itself; else as FetchStrategy says."""
        kept = self._means.kept.take(order.task)
        spool = kept or await self._means.spool()
        try:
            if kept is None:
                await receive(self._means, order, spool)
            ending = await proven(
                self._resolver,
                order.task,
                lambda key: self._means.read(partial(self._read, order, spool, key)),
            )
        except BaseException:
            spool.close()
            raise
        if isinstance(ending, Requeued):
            spool.close()
        return ending

    def _read(self, order: Order, spool: Spool, signing_key: str) -> Fetched:
        found = repo.read(spool.content(), order.task.did, signing_key, now=self._means.clock())
        return self._means.fetched(order, found, found.commit, spool, "repo")


async def receive(means: Means, order: Order, spool: Spool, since: str | None = None) -> None:
    """Downloads the account's CAR, or with `since` the difference to that rev, into the spool."""
    task, processing = order.task, order.processing
    async with (
        order.limiter.turn("getRepo", task.job_id, processing.requests_per_second) as turn,
        means.client.get_repo(task.pds, task.did, since, total=processing.timeout_seconds) as download,
    ):
        turn.answered(download.headers)
        async for chunk in download:
            spool.write(chunk)
