"""Strategy `list`: pages of the wanted collections, newest first, each record proven by its CID.

The pages count only if the repository had the same rev before and after: what moved meanwhile is listed anew.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise

from atp.commit import ALLOWED_SKEW
from atp.listing import Listing, Row, rows
from atp.tid import is_tid, microseconds
from atp.xrpc import Answer
from schemas.errors import NotAtproto, RateLimited, RecordNotFound, RepoChanging, UnexpectedResponse
from stream_workers.fetch.budget import Spool
from stream_workers.fetch.ending import Fetched
from stream_workers.fetch.order import Means, Order
from stream_workers.fetch.selection import KeyWindow

_log = logging.getLogger("skyfill.fetch")
_ROUNDS = 4
SINGLE_RECORDS = 25
"""So many records named by URI are asked for one by one; for more, their collections are listed."""
_MOST_BYTES = 16 << 30


class ListStrategy:
    """See FetchStrategy. Remembers which hosts' cursors are record keys, so that a time window's pages can be
    asked for directly."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._keyed_hosts: set[str] = set()

    async def fetch(self, order: Order) -> Fetched:
        """Raises RepoChanging where it changed in every round; else as FetchStrategy says."""
        before = await self._latest(order)
        for _ in range(_ROUNDS):
            spool = await self._means.spool()
            try:
                listing = Listing(order.task.did)
                await self._round(order, listing, spool)
                after = await self._latest(order)
                if after.body["rev"] == before.body["rev"]:
                    read = partial(self._read, order, listing, spool, after)
                    return await self._means.read(read)
            except BaseException:
                spool.close()
                raise
            spool.close()
            _log.info("%s changed while its pages were listed", order.task.did)
            before = after
        raise RepoChanging(
            f"{order.task.did} changed in each of {_ROUNDS} rounds through its pages; strategy `repo` takes "
            f"it in one answer"
        )

    def _read(self, order: Order, listing: Listing, spool: Spool, head: Answer) -> Fetched:
        content = spool.content() if spool.size else b""
        found = listing.read(content, head.body["rev"])
        return self._means.fetched(order, found, head.body["cid"], spool, "list")

    async def _round(self, order: Order, listing: Listing, spool: Spool) -> None:
        keys = order.selection.keys_of(order.task.did)
        if keys is not None and len(keys) <= SINGLE_RECORDS:
            for collection, rkey in keys:
                await self._single(order, listing, spool, collection, rkey)
            return
        if keys is not None:
            collections = {collection for collection, _ in keys}
        else:
            collections = await self._collections(order)
        for collection in sorted(collections):
            await self._collection(order, listing, spool, collection)

    async def _latest(self, order: Order) -> Answer:
        """The head, as the host names it. Stores compare revs, so one that can't be would do lasting harm."""
        client, task = self._means.client, order.task
        answer = await self._ask(
            order, "getLatestCommit", lambda: client.get_latest_commit(task.pds, task.did)
        )
        rev = answer.body["rev"]
        if not is_tid(rev) or microseconds(rev) > (self._means.clock() + ALLOWED_SKEW) * 1e6:
            raise UnexpectedResponse(f"{task.pds} names a rev that can't be: {rev[:50]!r}", 200)
        return answer

    async def _collections(self, order: Order) -> set[str]:
        client, task = self._means.client, order.task
        answer = await self._ask(order, "describeRepo", lambda: client.describe_repo(task.pds, task.did))
        named = answer.body["collections"]
        return {name for name in named if isinstance(name, str) and order.selection.wants_collection(name)}

    async def _single(self, order: Order, listing: Listing, spool: Spool, collection: str, rkey: str) -> None:
        client, task = self._means.client, order.task
        try:
            answer = await self._ask(
                order, "getRecord", lambda: client.get_record(task.pds, task.did, collection, rkey)
            )
        except RecordNotFound:
            return
        (row,) = rows([answer.body], task.did, collection)
        if row.rkey != rkey:
            raise NotAtproto(f"{task.pds} answers {row.rkey} when asked for {rkey}", 200)
        _keep(listing, spool, collection, [row])

    async def _collection(self, order: Order, listing: Listing, spool: Spool, collection: str) -> None:
        """All of a collection, or of the window where the host lets us go there."""
        pds, window = order.task.pds, order.selection.window or KeyWindow(None, None)
        cursor = window.end if pds in self._keyed_hosts else None
        unjumped: str | None = None
        may_jump, newest_first, last = True, True, None
        while True:
            found, following = await self._page(order, collection, cursor)
            if may_jump and cursor is not None and cursor == window.end and found and found[0].rkey >= cursor:
                _log.warning("%s takes cursors that are no record keys; collections are listed whole", pds)
                self._keyed_hosts.discard(pds)
                cursor, may_jump = unjumped, False
                continue
            is_new = _keep(listing, spool, collection, found)
            if following is None:
                return
            if not is_new:
                raise NotAtproto(f"{pds}: a page of {collection} holds nothing new", 200)
            newest_first = newest_first and _descends(last, found)
            last, cursor = found[-1].rkey, following
            if may_jump and newest_first and following == last:
                self._keyed_hosts.add(pds)
                if window.start is not None and last < window.start:
                    return
                if window.end is not None and last > window.end:
                    cursor, unjumped = window.end, following

    async def _page(self, order: Order, collection: str, cursor: str | None) -> tuple[list[Row], str | None]:
        """A page's rows, and the cursor to the next one; None after the last."""
        client, task = self._means.client, order.task
        answer = await self._ask(
            order,
            "listRecords",
            lambda: client.list_records(task.pds, task.did, collection, cursor=cursor),
        )
        found = await self._means.read(partial(rows, answer.body["records"], task.did, collection))
        following = answer.body.get("cursor")
        return found, following if isinstance(following, str) and following else None

    async def _ask(self, order: Order, kind: str, request: Callable[[], Awaitable[Answer]]) -> Answer:
        """One request in its turn, again after each 429."""
        while True:
            try:
                async with order.limiter.turn(
                    kind, order.task.job_id, order.processing.requests_per_second
                ) as turn:
                    answer = await request()
                    turn.answered(answer.headers)
                    return answer
            except RateLimited as error:
                order.refusals.another(error)


def _keep(listing: Listing, spool: Spool, collection: str, found: list[Row]) -> bool:
    """Takes a page in; whether anything of it was new."""
    is_new = False
    for row in found:
        if listing.add(collection, row, spool.size):
            spool.write(row.block)
            is_new = True
    if spool.size > _MOST_BYTES:
        raise UnexpectedResponse(f"{listing.did}: more than {_MOST_BYTES} bytes of records", 200)
    return is_new


def _descends(last: str | None, found: list[Row]) -> bool:
    keys = [row.rkey for row in found] if last is None else [last, *(row.rkey for row in found)]
    return all(before > after for before, after in pairwise(keys))
