"""Resolution: many at once but not too many, in order, and nothing ends the batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence

import pytest

from atp.identity import Identity
from producers.resolve import account_of, resolve_all
from producers.sources.base import Entry
from schemas.errors import (
    AddressForbidden,
    IdentifierInvalid,
    IdentityNotFound,
    IdentityUnreachable,
    SkyfillError,
    SourceError,
)
from tests.producers.deployment import Book, did


async def pages_of(accounts: Sequence[str], size: int = 100) -> AsyncGenerator[list[Entry], None]:
    for begin in range(0, len(accounts), size):
        yield [Entry(account) for account in accounts[begin : begin + size]]


@pytest.mark.parametrize(
    ("entry", "account"),
    [
        ("did:plc:AbC", "did:plc:AbC"),
        ("Alice.Example.COM", "alice.example.com"),
        ("@alice.example.com", "alice.example.com"),
        ("DID:plc:abc", "did:plc:abc"),
    ],
)
def test_one_account_is_written_one_way(entry: str, account: str) -> None:
    assert account_of(entry) == account


async def test_answers_keep_the_order_and_the_bound(book: Book) -> None:
    accounts = [did(number) for number in range(100)]
    book.seconds = 0.002
    resolved = Counter[str]()
    answers = await resolve_all(book, pages_of(accounts), 7, resolved)
    assert resolved == {"directory": 100}
    assert [answer.entry.account for answer in answers] == accounts
    assert all(isinstance(a.answer, Identity) and a.answer.did == a.entry.account for a in answers)
    assert book.most_at_once == 7


async def test_a_page_is_asked_for_only_when_a_place_is_free(book: Book) -> None:
    taken = 0

    async def source() -> AsyncGenerator[list[Entry], None]:
        nonlocal taken
        for number in range(20):
            assert taken - len(book.asked) < 3
            taken += 2
            yield [Entry(did(2 * number)), Entry(did(2 * number + 1))]

    book.seconds = 0.001
    assert len(await resolve_all(book, source(), 3)) == 40


async def test_what_is_known_is_not_asked_for_and_keeps_its_place(book: Book) -> None:
    book.knows_all = True
    accounts = [did(0), "alice.example", did(1), "did:web:x.example", did(2)]
    resolved = Counter[str]()
    answers = await resolve_all(book, pages_of(accounts, 2), 2, resolved)
    assert resolved["known"] == resolved.total() - resolved["directory"] > 0
    assert [answer.entry.account for answer in answers] == accounts
    assert sorted(book.asked) == ["alice.example", "did:web:x.example"]


async def test_an_error_of_the_pages_ends_all_work(book: Book) -> None:
    async def source() -> AsyncGenerator[list[Entry], None]:
        yield [Entry(did(1))]
        raise SourceError("the disk broke")

    book.gate = lambda: False
    with pytest.raises(SourceError, match="the disk broke"):
        await resolve_all(book, source(), 3)
    assert book.at_once == 0


async def test_every_failure_is_an_answer(book: Book) -> None:
    failures: list[Exception] = [
        IdentityNotFound("gone"),
        IdentityUnreachable("silent"),
        AddressForbidden("http://127.0.0.1"),
        ZeroDivisionError("nobody foresaw this"),
    ]
    book.answers.update({did(n): error for n, error in enumerate(failures)})
    accounts = [*(did(n) for n in range(5)), "neither", "did:x", "did:plc:" + "a" * 3000]
    answers = [resolution.answer for resolution in await resolve_all(book, pages_of(accounts, 3), 2)]
    assert answers[:3] == failures[:3]
    assert isinstance(answers[3], SkyfillError)
    assert answers[3].reason == "Unexpected"
    assert "nobody foresaw this" in str(answers[3])
    assert isinstance(answers[4], Identity)
    assert all(isinstance(answer, IdentifierInvalid) for answer in answers[5:])
    assert book.asked == accounts[:5]
