"""What came to a repository since the rev that the stores know, where that can be told for certain.

Everything else leads to the job's own strategy, in the same go: a difference may save work, never records.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

from atp import diff
from atp.diff import Known
from atp.identity import Resolver
from atp.repo import Repo
from schemas.errors import RepoError, UnexpectedResponse
from stream_workers.fetch.budget import Spool
from stream_workers.fetch.ending import Fetched, Requeued, Unchanged
from stream_workers.fetch.moves import proven
from stream_workers.fetch.order import FetchStrategy, Means, Order
from stream_workers.fetch.repo_strategy import receive

_log = logging.getLogger("skyfill.fetch")


class SinceStrategy:
    """See FetchStrategy; for tasks with `since`."""

    def __init__(self, means: Means, resolver: Resolver, whole: Mapping[str, FetchStrategy]) -> None:
        """`whole`: the strategies of jobs, by name."""
        self._means, self._resolver, self._whole = means, resolver, whole

    async def fetch(self, order: Order) -> Fetched | Unchanged | Requeued:
        """As FetchStrategy says. A `Fetched` whose `since` is None is the whole repository."""
        try:
            return await self._difference(order)
        except (RepoError, UnexpectedResponse) as error:
            if isinstance(error, UnexpectedResponse) and error.may_pass:
                raise
            _log.info("%s is fetched whole, since its difference won't do: %s", order.task.did, error)
        return await self._whole[order.processing.strategy].fetch(order)

    async def _difference(self, order: Order) -> Fetched | Unchanged | Requeued:
        spool = await self._means.spool()
        try:
            await receive(self._means, order, spool, order.task.since)
            ending = await proven(
                self._resolver,
                order.task,
                lambda key: self._means.read(partial(self._read, order, spool, key)),
            )
        except BaseException:
            spool.close()
            raise
        if not isinstance(ending, Fetched):
            spool.close()
        return ending

    def _read(self, order: Order, spool: Spool, signing_key: str) -> Fetched | Unchanged:
        task = order.task
        known = Known(task.since or "", task.since_commit or "")
        found = diff.read(spool.content(), task.did, signing_key, known, now=self._means.clock())
        if found is None:
            return Unchanged(known.rev)
        if isinstance(found, Repo):
            return self._means.fetched(order, found, found.commit, spool, "repo")
        fetched = self._means.fetched(order, found, found.commit, spool, "since")
        fetched.since = known.rev
        return fetched
