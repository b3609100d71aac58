"""What accounts write while the network runs, on top of the repositories that the seed made.

Every write is a commit of its own, with a rev later than all before; nothing is forgotten, so a repository
can be told as it was at any of them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from local.network.accounts import Account
from local.network.records import LAST_SECOND, Record, instant
from local.network.tid import tid


class Write(NamedTuple):
    """One commit: the record now under that key, None where it was deleted."""

    rev: str
    key: str
    record: Record | None


class Writes:
    """All of them, by account."""

    def __init__(self) -> None:
        self._writes: defaultdict[int, list[Write]] = defaultdict(list)

    def add(self, account: Account, key: str, record: Record | None) -> str:
        """Create, replace or delete a record, "collection/rkey"; the rev of that commit."""
        rev = self._next_rev(account)
        self._writes[account.number].append(Write(rev, key, record))
        return rev

    def add_post(self, account: Account) -> str:
        """A new post under a key of its time; the rev of that commit."""
        rev = self._next_rev(account)
        record = {
            "$type": "app.bsky.feed.post",
            "text": f"written meanwhile, {rev}",
            "createdAt": instant(self._time(account)),
        }
        return self.add(account, f"app.bsky.feed.post/{rev}", record)

    def rev(self, account: Account) -> str:
        """The repository's rev now."""
        writes = self._writes.get(account.number)
        return writes[-1].rev if writes else account.rev

    def apply(self, account: Account, records: dict[str, Record], until: str | None = None) -> None:
        """Change records as the account did, up to the rev ``until`` (None: all)."""
        for write in self._writes.get(account.number, ()):
            if until is not None and write.rev > until:
                return
            if write.record is None:
                records.pop(write.key, None)
            else:
                records[write.key] = write.record

    def _next_rev(self, account: Account) -> str:
        return tid(self._time(account), account.number & 1023)

    def _time(self, account: Account) -> int:
        """Microseconds since 1970: after all records of the seed, a millisecond after the last write."""
        return (LAST_SECOND + 1 + account.number) * 1_000_000 + 1000 * (1 + len(self._writes[account.number]))
