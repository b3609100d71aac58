"""What every source promises, as tests: a class of tests that each source's own class inherits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import pytest

from producers.sources import AccountSource
from producers.sources.base import LONGEST_CURSOR
from tests.producers.deployment import did
from tests.producers.sources.stand import accounts, left_out, read, read_some, refusal

PAGE = 3
MANY = [did(number) for number in range(20)]


class Stand(ABC):
    """A place where accounts lie, and the source that reads it."""

    malformed: str | None
    """The reason under which rows count that are no accounts; None where there can be none."""
    in_order = True
    page = PAGE
    """Entries of a page, at the most."""
    again = True
    """Whether what lies before a cursor can be had once more."""

    @abstractmethod
    async def put(self, names: Sequence[str], malformed: int = 0) -> None:
        """These accounts lie there now, and so many rows among them that are none."""

    @abstractmethod
    async def take_away(self) -> None:
        """There is nothing any more."""

    @abstractmethod
    async def spoil(self) -> None:
        """Something is there, and can't be read."""

    @abstractmethod
    def source(self) -> AccountSource:
        """A new source over the place."""

    def same(self, found: Sequence[str], wanted: Sequence[str]) -> bool:
        """Whether these are the accounts."""
        return list(found) == list(wanted) if self.in_order else sorted(found) == sorted(wanted)


class SourceContract:
    """Inherit it, with a fixture `stand`."""

    @pytest.mark.parametrize("count", [1, 3, 20])
    async def test_all_accounts_come_in_small_pages(self, stand: Stand, count: int) -> None:
        await stand.put(MANY[:count])
        source = stand.source()
        pages = await read(source.pages())
        assert stand.same(accounts(pages), MANY[:count])
        assert all(len(page.entries) <= source.page_entries <= stand.page for page in pages)
        assert all(0 < len(page.cursor) < LONGEST_CURSOR for page in pages)
        assert left_out(pages) == {}

    async def test_after_each_cursor_comes_exactly_the_rest(self, stand: Stand) -> None:
        await stand.put(MANY)
        pages = await read(stand.source().pages())
        for at, page in enumerate(pages, 1):
            rest = await read(stand.source().pages(page.cursor))
            assert stand.same(accounts(pages[:at]) + accounts(rest), MANY)
        # A second restart goes on from a cursor that was given out after the first.
        middle = await read_some(stand.source(), 1, pages[0].cursor)
        rest = await read(stand.source().pages(middle[-1].cursor))
        assert stand.same(accounts(pages[:1] + middle + rest), MANY)

    async def test_what_lies_before_a_cursor_can_be_had_again(self, stand: Stand) -> None:
        await stand.put(MANY)
        pages = await read_some(stand.source(), 2)
        again = stand.source().again(pages[-1].cursor)
        assert (again is not None) == stand.again
        if again is not None:
            assert stand.same(accounts(await read(again)), accounts(pages))

    async def test_nothing_there_is_said(self, stand: Stand) -> None:
        await stand.put([])
        source = stand.source()
        told = await refusal(source)
        assert "holds no accounts" in told or source.name in told

    async def test_rows_that_are_none_are_counted(self, stand: Stand) -> None:
        await stand.put(MANY, malformed=7)
        pages = await read(stand.source().pages())
        assert stand.same(accounts(pages), MANY)
        assert left_out(pages) == ({stand.malformed: 7} if stand.malformed else {})
        # Wherever it was broken off, each is counted once.
        for at, page in enumerate(pages, 1):
            rest = await read(stand.source().pages(page.cursor))
            assert left_out(pages[:at] + rest) == left_out(pages)

    async def test_what_is_not_there_is_named(self, stand: Stand) -> None:
        await stand.take_away()
        await self.assert_told(stand)

    async def test_what_can_not_be_read_is_named(self, stand: Stand) -> None:
        await stand.spoil()
        await self.assert_told(stand)

    async def test_a_source_that_is_dropped_lets_go(self, stand: Stand) -> None:
        """Warnings are errors here: nothing may be left open or running."""
        await stand.put(MANY)
        await read_some(stand.source(), 1)

    async def assert_told(self, stand: Stand) -> None:
        told = await refusal(stand.source())
        assert len(told) < 600
        assert "\n" not in told
        assert "Error(" not in told
