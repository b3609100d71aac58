"""Strategy `auto`: `list` where a job names few records by their keys, else `repo`, since it proves more.

Either takes the other's place where it fails, `list` only for the last time; but what does not prove itself
is never asked for in a way that proves less.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from atp.tid import microseconds
from schemas.errors import (
    AddressForbidden,
    HostUnknown,
    RateLimited,
    RepoChanging,
    RepoUnavailable,
    UnexpectedResponse,
    XrpcError,
)
from stream_workers.fetch.ending import Fetched, Requeued, Unchanged
from stream_workers.fetch.list_strategy import SINGLE_RECORDS
from stream_workers.fetch.order import FetchStrategy, Order
from stream_workers.fetch.selection import Selection

_log = logging.getLogger("skyfill.fetch")
_FEW_DAYS = timedelta(days=31)
_FEW_COLLECTIONS = 2
"""Each costs a page or two, where a whole repository is one request."""
_NO_CHANGE = (RateLimited, RepoUnavailable, HostUnknown, AddressForbidden)
"""What a host would answer to `list` just as well."""


class AutoStrategy:
    """See FetchStrategy."""

    def __init__(
        self,
        repo: FetchStrategy,
        listing: FetchStrategy,
        is_final: Callable[[Order, XrpcError], bool],
        clock: Callable[[], float],
    ) -> None:
        """`is_final`: whether no further attempt follows this error. `clock` in seconds since 1970."""
        self._repo, self._list, self._is_final, self._clock = repo, listing, is_final, clock

    async def fetch(self, order: Order) -> Fetched | Unchanged | Requeued:
        """Raises what `repo` raised where neither succeeds; see FetchStrategy."""
        if wants_few(order.selection, order.task.did, self._clock()):
            try:
                return await self._list.fetch(order)
            except (RepoChanging, UnexpectedResponse) as error:
                _log.info("%s comes whole, since its pages did not: %s", order.task.did, error)
        try:
            return await self._repo.fetch(order)
        except _NO_CHANGE:
            raise
        except XrpcError as error:
            if not self._is_final(order, error):
                raise
            _log.info("%s comes in pages, since it did not come whole: %s", order.task.did, error)
            return await self._list_instead(order, error)

    async def _list_instead(self, order: Order, error: XrpcError) -> Fetched | Unchanged | Requeued:
        try:
            return await self._list.fetch(order)
        except RepoUnavailable:
            raise
        except XrpcError as second:
            error.args = (f"{error}; and its pages: {second}",)
            raise error from second


def wants_few(selection: Selection, did: str, now: float) -> bool:
    """Whether a few requests bring all that is wanted of the account; in doubt, no.

    Yes for up to 25 URIs; and for at most two collections, named exactly, of at most 31 days that keys
    decide. `now` in seconds since 1970.
    """
    keys = selection.keys_of(did)
    if keys is not None:
        return len(keys) <= SINGLE_RECORDS
    window, collections = selection.window, selection.collections
    if window is None or window.start is None or collections is None:
        return False
    end = now * 1e6 if window.end is None else min(now * 1e6, microseconds(window.end))
    days = timedelta(microseconds=end - microseconds(window.start))
    return len(collections) <= _FEW_COLLECTIONS and days <= _FEW_DAYS
