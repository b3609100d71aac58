"""What a source of accounts promises: its entries in pages, each with a cursor from which reading goes on.

A cursor means "all up to here is dealt with". It is kept with the tasks that it accounts for, so a plan goes
on after a kill with exactly the entries behind it. What a cursor holds is its source's own business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple

from atp.identity import Identity
from schemas.errors import SkyfillError, SourceError

LONGEST_CURSOR = 64 * 1024
"""Characters."""


class Entry(NamedTuple):
    """One account as the source names it, and what a source may know of it beside its name."""

    account: str
    """As it was written: whether it is an account at all is for others to judge."""
    host: str | None = None
    """Canonical origin of the host that listed it. It counts only if the account's DID document agrees."""
    rev: str | None = None
    """The repository's rev when it was listed."""
    gone: str | None = None
    """Why there is nothing to fetch, in the words of an outcome's reason, e.g. `RepoTakendown`."""
    identity: Identity | SkyfillError | None = None
    """What a resolver would answer, where the source itself has it from the directory."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries in a row, and the cursor behind them. A page may be empty and still lead on."""

    entries: Sequence[Entry]
    cursor: str
    left_out: Mapping[str, int] = field(default_factory=dict)
    """What stood between the entries and is no account, by reason."""
    notes: Sequence[str] = ()
    """What the job's user should read of it, e.g. that a host was left out."""


class AccountSource(ABC):
    """Life: made, `pages` once (and `again` before it, where a plan has to be recollected)."""

    def __init__(self, page_entries: int) -> None:
        """`page_entries`: as many as a page holds, unless a host sends more than it was asked for."""
        self.page_entries = page_entries

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call the source."""

    @abstractmethod
    def _pages(self, after: str | None) -> AsyncGenerator[Page, None]:
        """All pages behind a cursor; None: from the beginning."""

    async def pages(self, after: str | None = None) -> AsyncGenerator[Page, None]:
        """All pages behind a cursor that this source gave out, in bounded memory; None: from the beginning.

        Raises SourceError, in the midst of it too, when the source can't be read, when it is not any more
        what the cursor was taken from, or when it holds no entry at all: a backfill of nothing is a
        mistake, not a success.
        """
        empty = after is None
        async with aclosing(self._pages(after)) as pages:
            async for page in pages:
                if len(page.cursor) > LONGEST_CURSOR:
                    raise SourceError(
                        f"{self.name} gives a place to go on from of {len(page.cursor)} characters"
                    )
                empty = empty and not page.entries
                yield page
        if empty:
            raise SourceError(f"{self.name} holds no accounts; name at least one DID or handle")

    def again(self, until: str) -> AsyncGenerator[Page, None] | None:
        """The entries before a cursor once more, for whoever forgot them; None where they can't be had.

        Raises SourceError, in the midst of it, when they are not those that were given out before.
        """
        return None
