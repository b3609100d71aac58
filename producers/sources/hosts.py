"""Accounts as their own hosts list them: the relay's listHosts, then listRepos of each, several at once.

Any host may list any account: a row counts only where the account's document names that host, which whoever
plans has to look at. A host that can't be read costs its own accounts and a note, never the plan.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from atp.net import canonical_origin
from producers.sources.base import AccountSource, Page
from producers.sources.listing import Listing, Rows, entries_of
from producers.sources.reach import Reach
from producers.sources.relay import REPOS_PAGE, Relay
from schemas.errors import AddressForbidden, IdentityError, SourceError
from schemas.job_specs import JobSpec
from schemas.scope import ScopeJudge
from schemas.sources import HostsSource

_HOSTS_PAGE = 200
RELAY_BEGINNING = [None, None, False]
"""The place of a HostDirectory that begins."""
_BEGINNING = {"relay": RELAY_BEGINNING, "open": []}
SILENT = ("banned", "offline")
"""What a relay says of hosts that nobody need ask."""
_LONGEST_NAME = 260
_ENDLESS = (10, 100_000)
"""A host that lists so many times what the relay counted, and so many more, makes its accounts up."""
_log = logging.getLogger("skyfill.planner")


@dataclass
class OpenHost:
    """A host in the midst of being listed."""

    name: str
    cursor: str | None
    """Behind the last page that was given out."""
    rows: int
    most: int | None
    """Rows that it may list, None: any number."""
    walk: AsyncGenerator[tuple[Rows, str | None], None]
    coming: asyncio.Task[tuple[Rows, str | None] | None]

    @property
    def place(self) -> list[Any]:
        """What a cursor keeps of it."""
        return [self.name, self.cursor, self.rows, self.most]


class HostAccounts(AccountSource):
    """Pages come host by host, as the hosts answer; each host's own in its order."""

    def __init__(self, source: HostsSource, spec: JobSpec, reach: Reach) -> None:
        super().__init__(min(REPOS_PAGE, spec.backfill.processing.batch_size))
        self._source, self._spec, self._reach = source, spec, reach
        self._scope = ScopeJudge(spec.backfill.scope)

    @property
    def name(self) -> str:
        return f"the hosts of the relay {self._source.url or self._reach.settings.network.relay_url}"

    async def _pages(self, after: str | None) -> AsyncGenerator[Page, None]:
        saved: dict[str, Any] = orjson.loads(after) if after is not None else _BEGINNING
        directory = HostDirectory(Relay(self._source, self._spec, self._reach), saved["relay"])
        opened = {place[0]: self._open(*place) for place in saved["open"]}
        try:
            while True:
                left_out: Counter[str] = Counter()
                notes: list[str] = []
                while len(opened) < self._source.concurrency and (row := await directory.next()) is not None:
                    self._admit(row, opened, left_out, notes)
                heard: Sequence[OpenHost | None] = await _first_of(opened) or [None]
                for host in heard:
                    page = self._page_of(host, opened, left_out, notes)
                    cursor = {"relay": directory.place, "open": [one.place for one in opened.values()]}
                    yield Page(page, orjson.dumps(cursor).decode(), dict(left_out), notes)
                    left_out, notes = Counter(), []
                if not opened and directory.ended:
                    return
        finally:
            await _close(opened)
            await directory.close()

    def _admit(
        self, row: dict[str, Any], opened: dict[str, OpenHost], left_out: Counter[str], notes: list[str]
    ) -> None:
        """Begins with a host that the relay lists, or counts why not."""
        name = row.get("hostname")
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
            left_out["host_malformed"] += 1
            return
        if name in opened:
            return
        if row.get("status") in SILENT:
            left_out[f"host_{row['status']}"] += 1
            return
        try:
            origin = origin_named(name, self._reach)
        except (AddressForbidden, IdentityError) as error:
            left_out["host_malformed"] += 1
            notes.append(f"the host {name} was left out: {error}")
            return
        if self._scope.excludes_host(origin):
            left_out["host_out_of_scope"] += 1
            return
        count = row.get("accountCount")
        most = _ENDLESS[0] * count + _ENDLESS[1] if isinstance(count, int) and count >= 0 else None
        opened[name] = self._open(name, None, 0, most)

    def _open(self, name: str, cursor: str | None, rows: int, most: int | None) -> OpenHost:
        listing = Listing(
            self._reach,
            origin_named(name, self._reach),
            "com.atproto.sync.listRepos",
            "repos",
            job_id=self._spec.job_id,
            rate=self._spec.backfill.processing.requests_per_second,
            limit=self.page_entries,
        )
        walk = listing.walk(cursor)
        return OpenHost(name, cursor, rows, most, walk, asyncio.ensure_future(anext(walk, None)))

    def _page_of(
        self, host: OpenHost | None, opened: dict[str, OpenHost], left_out: Counter[str], notes: list[str]
    ) -> list[Any]:
        """What a host has sent; it goes on with its next page, or it is done with."""
        if host is None:
            return []
        try:
            rows, following = host.coming.result() or ([], None)
            host.rows += len(rows)
            if host.most is not None and host.rows > host.most:
                raise SourceError(f"{host.name} lists {host.rows} accounts, far more than the relay knows of")
        except SourceError as error:
            del opened[host.name]
            left_out["host_unreachable"] += 1
            notes.append(f"a host was left out from here on: {error}")
            _log.warning("job %s: %s", self._spec.job_id, notes[-1])
            return []
        entries, malformed = entries_of(rows, origin_named(host.name, self._reach))
        left_out.update(malformed)
        if following is None:
            del opened[host.name]
        else:
            host.cursor = following
            host.coming = asyncio.ensure_future(anext(host.walk, None))
        return entries


class HostDirectory:
    """The relay's hosts, one after the other, from a place on."""

    def __init__(self, relay: Relay, place: list[Any]) -> None:
        """`place` is what `place` of another one was."""
        self._cursor, self._last, self.ended = place
        listing = relay.listing("com.atproto.sync.listHosts", "hosts", _HOSTS_PAGE)
        self._walk = listing.walk(self._cursor)
        self._rows: Rows = []
        self._following: str | None = self._cursor
        self._begun = False

    @property
    def place(self) -> list[Any]:
        """The cursor of the page that the next host stands on, the host before it, whether all are done."""
        return [self._cursor, self._last, self.ended]

    async def close(self) -> None:
        """Leaves the relay alone."""
        await self._walk.aclose()

    async def next(self) -> dict[str, Any] | None:
        """The next row, empty for what is none; None at the end. Raises SourceError if it can't be read."""
        while not self._rows and not self.ended:
            if self._begun and self._following is None:
                self.ended = True
                break
            rows, following = await anext(self._walk)
            self._cursor, self._following = self._following, following
            self._rows = rows if self._begun else _behind(rows, self._last)
            self._begun = True
        if not self._rows:
            return None
        row = self._rows.pop(0)
        self._last = _name_of(row)
        return row if isinstance(row, dict) else {}


def origin_named(name: str, reach: Reach) -> str:
    """The origin of a host by its name. Raises AddressForbidden or IdentityError if it can't be asked."""
    private = reach.network().allow_private_hosts
    scheme = "http" if private and name.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
    return canonical_origin(f"{scheme}://{name}", allow_private=private)


def _behind(rows: Rows, last: str | None) -> Rows:
    """The rows behind a host; all of them if it is not there any more: what is listed again is noticed."""
    places = [place for place, row in enumerate(rows) if last is not None and _name_of(row) == last]
    return rows[places[-1] + 1 :] if places else rows


def _name_of(row: object) -> str | None:
    name = row.get("hostname") if isinstance(row, dict) else None
    return name[:_LONGEST_NAME] if isinstance(name, str) else None


async def _first_of(opened: dict[str, OpenHost]) -> list[OpenHost]:
    """Those that have sent something; waits for the first."""
    if not opened:
        return []
    await asyncio.wait([host.coming for host in opened.values()], return_when=asyncio.FIRST_COMPLETED)
    return [host for host in opened.values() if host.coming.done()]


async def _close(opened: dict[str, OpenHost]) -> None:
    for host in opened.values():
        host.coming.cancel()
    await asyncio.gather(*(host.coming for host in opened.values()), return_exceptions=True)
    for host in opened.values():
        await host.walk.aclose()
