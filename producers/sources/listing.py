"""One list of one host, page by page over XRPC: within the host's limits, patient, and believing nothing.

What a host sends may be anything: rows that are none, cursors that lead in a circle. None of it may stop a
plan or fill its memory.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from atp.net import canonical_origin
from atp.retry import Backoff
from atp.syntax import is_did
from atp.tid import is_tid
from atp.xrpc import Answer, Client
from producers.sources.base import Entry
from producers.sources.reach import Reach
from schemas.errors import AddressForbidden, IdentityError, IdentityUnreachable, SourceError

MALFORMED = "malformed_row"
"""The reason under which rows count that are no accounts."""
_MOST_ROWS = 10_000
"""Of a page; hosts send 2,000 at most if they keep to the protocol."""
_LONGEST_CURSOR = 512
_MOST_EMPTY = 20
"""Pages in a row that hold nothing and lead on."""
_GONE = {"takendown": "RepoTakendown", "suspended": "RepoSuspended", "deactivated": "RepoDeactivated"}
_OF_THE_RELAY = ("desynchronized", "throttled")
"""A relay's own trouble with an account, which its host may serve all the same."""

Rows = list[Any]


class Listing:
    """Life: made, `walk` once, from wherever it is to go on."""

    def __init__(
        self,
        reach: Reach,
        origin: str,
        method: str,
        field: str,
        *,
        job_id: str,
        rate: float,
        limit: int,
        trusted: bool = False,
        params: Mapping[str, str] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """`method` answers a list under `field`. `rate` is requests a second; `trusted` as for the client."""
        self._client: Client = reach.network()
        self._limiter = reach.limiters.of(origin)
        self._backoff = backoff or reach.backoff
        self._origin, self._method, self._field = origin, method, field
        self._job_id, self._rate, self._trusted = job_id, rate, trusted
        self._params: dict[str, str | int] = {**(params or {}), "limit": limit}

    async def walk(self, cursor: str | None) -> AsyncGenerator[tuple[Rows, str | None], None]:
        """Pages from a cursor of this list on, each with the cursor behind it, which is None for the last.

        Raises SourceError where the host can't be reached, after several attempts, or makes no sense.
        """
        empty = 0
        while True:
            rows, following = await self._page(cursor)
            empty = 0 if rows else empty + 1
            if following is not None and (following == cursor or empty > _MOST_EMPTY):
                raise self._failed("its pages lead on without end")
            yield rows, following
            if following is None:
                return
            cursor = following

    async def _page(self, cursor: str | None) -> tuple[Rows, str | None]:
        try:
            answer = await self._backoff.run(self._origin, lambda: self._ask(cursor))
        except IdentityUnreachable as error:
            raise self._failed(str(error.__cause__ or error)) from error
        except AddressForbidden as error:
            raise self._failed(str(error)) from error
        rows, following = answer.body.get(self._field), answer.body.get("cursor") or None
        if not isinstance(rows, list) or len(rows) > _MOST_ROWS:
            raise self._failed(f"its answer has no usable list `{self._field}`")
        if following is not None and not (isinstance(following, str) and len(following) <= _LONGEST_CURSOR):
            raise self._failed("its answer has no usable cursor")
        return rows, following

    async def _ask(self, cursor: str | None) -> Answer:
        params = self._params if cursor is None else {**self._params, "cursor": cursor}
        async with self._limiter.turn(self._method.rpartition(".")[2], self._job_id, self._rate) as turn:
            answer = await self._client.query(self._origin, self._method, params, trusted=self._trusted)
            turn.answered(answer.headers)
            return answer

    def _failed(self, why: str) -> SourceError:
        return SourceError(f"{self._origin} can't be listed by {self._method}: {why}")


def origin_of(url: str, reach: Reach) -> str:
    """A host that a document names. Raises SourceError for one that can't be asked."""
    try:
        return canonical_origin(url, allow_private=reach.network().allow_private_hosts)
    except (AddressForbidden, IdentityError) as error:
        raise SourceError(f"source.url: {error}") from error


def entry_of(row: object, host: str | None) -> Entry | None:
    """A row of listRepos or listReposByCollection as an entry; None if it names no account."""
    if not isinstance(row, dict):
        return None
    did, rev = row.get("did"), row.get("rev")
    if not (isinstance(did, str) and is_did(did)):
        return None
    gone = None
    if row.get("active") is False and row.get("status") not in _OF_THE_RELAY:
        status = row.get("status")
        gone = _GONE.get(status, "RepoInactive") if isinstance(status, str) else "RepoInactive"
    return Entry(did, host, rev if isinstance(rev, str) and is_tid(rev) else None, gone)


def entries_of(rows: Rows, host: str | None) -> tuple[list[Entry], dict[str, int]]:
    """The rows' entries, and how many rows were none, as a page counts it."""
    entries = [entry for row in rows if (entry := entry_of(row, host)) is not None]
    malformed = len(rows) - len(entries)
    return entries, {MALFORMED: malformed} if malformed else {}
