"""Accounts as a relay lists them: all of the network, or those with records of certain collections.

A relay that is silent is waited for; one that stays so ends the job's plan, since nobody else has its list.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import orjson

from producers.sources.base import AccountSource, Page
from producers.sources.listing import Listing, entries_of, origin_of
from producers.sources.reach import Reach
from schemas.errors import SourceError
from schemas.job_specs import JobSpec
from schemas.sources import CollectionSource, HostsSource, RelaySource

REPOS_PAGE = 1000
COLLECTION_PAGE = 2000
"""The most rows that the protocol lets a client ask for."""
_GO_ON = "; what was planned until then is fetched. When it answers again, submit the job under another id"


class Relay:
    """The relay of a job: the one of the settings, or another that its document names."""

    def __init__(
        self, source: RelaySource | HostsSource | CollectionSource, spec: JobSpec, reach: Reach
    ) -> None:
        """Raises SourceError for one that can't be asked."""
        self.origin = reach.settings.network.relay_url.rstrip("/")
        self._trusted = source.url is None
        if source.url is not None:
            self.origin = origin_of(source.url, reach)
        self._spec, self._reach = spec, reach

    def listing(
        self, method: str, field: str, limit: int, params: Mapping[str, str] | None = None
    ) -> Listing:
        """One of its lists. A relay gets the most patience: about four minutes."""
        return Listing(
            self._reach,
            self.origin,
            method,
            field,
            job_id=self._spec.job_id,
            rate=self._spec.backfill.processing.requests_per_second,
            limit=limit,
            trusted=self._trusted,
            params=params,
            backoff=self._reach.relay_backoff,
        )


class RelayAccounts(AccountSource):
    """listRepos of a relay, in its order. Each account stands there once."""

    def __init__(self, source: RelaySource, spec: JobSpec, reach: Reach) -> None:
        super().__init__(min(REPOS_PAGE, spec.backfill.processing.batch_size))
        self._source, self._spec, self._reach = source, spec, reach

    @property
    def name(self) -> str:
        return f"the relay {self._source.url or self._reach.settings.network.relay_url}"

    async def _pages(self, after: str | None) -> AsyncGenerator[Page, None]:
        cursor, ended = (None, False) if after is None else orjson.loads(after)
        if ended:
            return
        relay = Relay(self._source, self._spec, self._reach)
        listing = relay.listing("com.atproto.sync.listRepos", "repos", self.page_entries)
        try:
            async with aclosing(listing.walk(cursor)) as walk:
                async for rows, following in walk:
                    entries, left_out = entries_of(rows, None)
                    yield Page(entries, orjson.dumps([following, following is None]).decode(), left_out)
        except SourceError as error:
            raise SourceError(f"{error}{_GO_ON}") from error


class CollectionAccounts(AccountSource):
    """listReposByCollection of a relay, collection by collection. An account may stand in several."""

    def __init__(self, source: CollectionSource, spec: JobSpec, reach: Reach) -> None:
        super().__init__(min(COLLECTION_PAGE, spec.backfill.processing.batch_size))
        self._source, self._spec, self._reach = source, spec, reach

    @property
    def name(self) -> str:
        relay = self._source.url or self._reach.settings.network.relay_url
        return f"the relay {relay} (collections {', '.join(self._source.collections)})"

    async def _pages(self, after: str | None) -> AsyncGenerator[Page, None]:
        first, cursor = (0, None) if after is None else orjson.loads(after)
        async with aclosing(self._walk(first, cursor, len(self._source.collections))) as walk:
            async for page in walk:
                yield page

    async def again(self, until: str) -> AsyncGenerator[Page, None]:
        """The collections that were read to their end: within one, no account is named twice."""
        reached, _ = orjson.loads(until)
        async with aclosing(self._walk(0, None, reached)) as walk:
            async for page in walk:
                yield page

    async def _walk(self, first: int, cursor: str | None, end: int) -> AsyncGenerator[Page, None]:
        if first >= end:
            return
        relay = Relay(self._source, self._spec, self._reach)
        method = "com.atproto.sync.listReposByCollection"
        try:
            for number in range(first, end):
                params = {"collection": self._source.collections[number]}
                listing = relay.listing(method, "repos", self.page_entries, params)
                async with aclosing(listing.walk(cursor)) as walk:
                    async for rows, following in walk:
                        entries, left_out = entries_of(rows, None)
                        place = [number + 1, None] if following is None else [number, following]
                        yield Page(entries, orjson.dumps(place).decode(), left_out)
                cursor = None
        except SourceError as error:
            raise SourceError(f"{error}{_GO_ON}") from error
