"""Which records of a repository a job wants: by type, by day, by URI. Days are whole, UTC, inclusive."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple

import orjson

from atp.syntax import parse_datetime
from atp.tid import from_microseconds, is_tid, microseconds
from schemas.backfill import SHORT_NAMES, Backfill, TimeRange

_POST = SHORT_NAMES["post"]


class KeyWindow(NamedTuple):
    """Wanted records have TIDs as keys, from `start` on and below `end`; None: without such a bound."""

    start: str | None
    end: str | None


class Verdict(NamedTuple):
    """Why a record is left out (None: it is wanted), and whether it had no createdAt to date it by."""

    dropped: str | None
    undated: bool = False


_WANTED = Verdict(None)


class Selection:
    """The selection of one job. Immutable, so it is shared by all of the job's tasks."""

    def __init__(self, backfill: Backfill) -> None:
        """Takes record_types, time_range and uris from the document."""
        types = set(backfill.record_types)
        self._all_types = not types
        self._families = tuple(t[:-1] for t in types if t.endswith(".*"))
        self._collections = {SHORT_NAMES.get(t, t) for t in types if not t.endswith(".*")}
        self._posts_only = "post" in types and not types & {"reply", _POST} and not self._in_family(_POST)
        self._replies_only = "reply" in types and not types & {"post", _POST} and not self._in_family(_POST)
        self._by = backfill.time_range.by if backfill.time_range else "created_at"
        self._margin = backfill.time_range.margin_days if backfill.time_range else None
        self._from, self._until = _bounds(backfill.time_range)
        self.window = _window(backfill.time_range, self._from, self._until)
        """The keys that wanted records lie between, where the selection says so; else None."""
        self._uris = frozenset(backfill.uris)
        self.fingerprint = _fingerprint(backfill)
        """The same for two jobs exactly if they select the same."""

    @property
    def collections(self) -> frozenset[str] | None:
        """The collections that wanted records are in, where the document names them; None: any may be."""
        return None if self._all_types or self._families else frozenset(self._collections)

    def wants_key(self, did: str) -> Callable[[str, str], str | None]:
        """A test of (collection, rkey) for this account: why it is left out before being read, or None."""
        known: dict[str, bool] = {}

        def why_not(collection: str, rkey: str) -> str | None:
            wanted = known.get(collection)
            if wanted is None:
                wanted = known[collection] = self.wants_collection(collection)
            if not wanted:
                return "record_type"
            if self._uris and f"at://{did}/{collection}/{rkey}" not in self._uris:
                return "uri"
            return None

        return why_not

    def keys_of(self, did: str) -> list[tuple[str, str]] | None:
        """The (collection, rkey) of this account's records that can be wanted at all; None: any."""
        if not self._uris:
            return None
        prefix = f"at://{did}/"
        found = [u.removeprefix(prefix).split("/", 1) for u in self._uris if u.startswith(prefix)]
        return sorted((c, rkey) for c, rkey in found if self.wants_collection(c))

    def judge(self, collection: str, rkey: str, record: bytes, created_at: str | None) -> Verdict:
        """Whether a record that passed `wants_key` is wanted; `record` is its JSON."""
        if collection == _POST and (self._posts_only or self._replies_only):
            is_reply = orjson.loads(record).get("reply") is not None
            if is_reply is self._posts_only:
                return Verdict("record_type")
        if self._from is None and self._until is None:
            return _WANTED
        if self._margin is not None and not self._in_window(rkey):
            return Verdict("time_range")
        at, undated = self._instant(rkey, created_at)
        if at is None:
            return Verdict("time_range", undated)
        if (self._from and at < self._from) or (self._until and at >= self._until):
            return Verdict("time_range", undated)
        return Verdict(None, undated)

    def wants_collection(self, collection: str) -> bool:
        """Whether a collection may hold wanted records."""
        return self._all_types or collection in self._collections or self._in_family(collection)

    def _in_window(self, rkey: str) -> bool:
        start, end = self.window or (None, None)
        return is_tid(rkey) and (start is None or start <= rkey) and (end is None or rkey < end)

    def _in_family(self, collection: str) -> bool:
        return collection.startswith(self._families)

    def _instant(self, rkey: str, created_at: str | None) -> tuple[datetime | None, bool]:
        if self._by == "created_at":
            if created_at is not None and (at := parse_datetime(created_at)):
                return at, False
            return _tid_instant(rkey), True
        return _tid_instant(rkey), False


def _tid_instant(rkey: str) -> datetime | None:
    return (
        datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds(rkey))
        if is_tid(rkey)
        else None
    )


def _bounds(time_range: TimeRange | None) -> tuple[datetime | None, datetime | None]:
    if time_range is None:
        return None, None
    start, end = time_range.start_date, time_range.end_date
    return (
        datetime.combine(start, time(), UTC) if start else None,
        datetime.combine(end + timedelta(days=1), time(), UTC) if end else None,
    )


def _window(time_range: TimeRange | None, start: datetime | None, end: datetime | None) -> KeyWindow | None:
    """Without a margin a record dated by its createdAt may have any key, since that is the client's word."""
    if time_range is None or (start is None and end is None):
        return None
    if time_range.by == "created_at" and time_range.margin_days is None:
        return None
    margin = timedelta(days=time_range.margin_days or 0)
    return KeyWindow(_tid_of(start, -margin) if start else None, _tid_of(end, margin) if end else None)


def _tid_of(instant: datetime, margin: timedelta) -> str | None:
    """The least TID of an instant, moved by the margin; None where that lies beyond what TIDs can say."""
    since_1970 = instant - datetime(1970, 1, 1, tzinfo=UTC) + margin
    time_us = since_1970 // timedelta(microseconds=1)
    tid = from_microseconds(time_us)
    return tid if microseconds(tid) == time_us else None


def _fingerprint(backfill: Backfill) -> str:
    chosen = backfill.model_dump(mode="json", include={"record_types", "time_range", "uris"})
    chosen["record_types"] = sorted(set(chosen["record_types"]))
    chosen["uris"] = sorted(set(chosen["uris"]))
    return hashlib.sha256(orjson.dumps(chosen, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
