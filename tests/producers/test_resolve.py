"""Resolution: many at once but not too many, in order, and nothing ends the batch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atp.identity import Identity
from producers.resolve import account_of, resolve_all
from schemas.errors import (
    AddressForbidden,
    IdentifierInvalid,
    IdentityNotFound,
    IdentityUnreachable,
    SkyfillError,
)
from tests.producers.deployment import Book, did


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
    answers = await resolve_all(book, accounts, 7)
    assert [answer.account for answer in answers] == accounts
    assert all(isinstance(a.answer, Identity) and a.answer.did == a.account for a in answers)
    assert book.most_at_once == 7


async def test_no_more_is_taken_from_the_source_than_can_be_asked(book: Book) -> None:
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        for number in range(50):
            assert taken - len(book.asked) < 3
            taken += 1
            yield did(number)

    book.seconds = 0.001
    assert len(await resolve_all(book, source(), 3)) == 50


async def test_every_failure_is_an_answer(book: Book) -> None:
    failures: list[Exception] = [
        IdentityNotFound("gone"),
        IdentityUnreachable("silent"),
        AddressForbidden("http://127.0.0.1"),
        ZeroDivisionError("nobody foresaw this"),
    ]
    book.answers.update({did(n): error for n, error in enumerate(failures)})
    accounts = [*(did(n) for n in range(5)), "neither", "did:x", "did:plc:" + "a" * 3000]
    answers = [resolution.answer for resolution in await resolve_all(book, accounts, 2)]
    assert answers[:3] == failures[:3]
    assert isinstance(answers[3], SkyfillError)
    assert answers[3].reason == "Unexpected"
    assert "nobody foresaw this" in str(answers[3])
    assert isinstance(answers[4], Identity)
    assert all(isinstance(answer, IdentifierInvalid) for answer in answers[5:])
    assert book.asked == accounts[:5]
