"""Tokens: what is kept of them, and which are taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from messaging import clients
from messaging.token_book import TokenBook, find_token, new_token, token_id_of
from messaging.topics import create_topics
from schemas.tokens import ApiToken
from tests.messaging.broker import settings

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def test_what_is_kept_of_a_token_is_none() -> None:
    text, token = new_token("night shift", "operator", NOW)
    assert token_id_of(text) == token.id
    assert len(text) == len("skf_") + 10 + 1 + 43
    secret = text.split("_", 2)[2]
    assert secret not in token.encode().decode()
    assert token_id_of(token.hash) is None
    assert len({new_token("x", "viewer", NOW)[0] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"expires_at": NOW + timedelta(seconds=1)}, True),
        ({"expires_at": NOW}, False),
        ({"revoked_at": NOW - timedelta(days=1)}, False),
        ({"hash": "0" * 64}, False),
        ({"hash": ""}, False),
    ],
)
def test_which_tokens_are_taken(changes: dict[str, object], good: bool) -> None:
    text, token = new_token("x", "viewer", NOW)
    kept = token.model_copy(update=changes)
    assert (find_token({token.id: kept}, text, NOW) == kept) is good


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1] + "?", lambda t: t + "x", lambda t: t.upper(), lambda t: ""]
)
def test_what_is_nearly_a_token_is_none(change: object) -> None:
    text, token = new_token("x", "viewer", NOW)
    assert callable(change)
    assert find_token({token.id: token, "": token}, change(text), NOW) is None
    other, _ = new_token("x", "viewer", NOW)
    assert find_token({token.id: token}, text[:15] + other[15:], NOW) is None


def test_a_book_keeps_tokens_for_all_who_open_it(kafka: str, prefix: str) -> None:
    own = settings(kafka, prefix)
    create_topics(clients.admin(own), own)
    book, other = TokenBook(own), TokenBook(own)
    try:
        made = [new_token(f"token {number}", "admin", NOW + timedelta(seconds=number)) for number in range(3)]
        for _, token in reversed(made):
            book.put(token)
        text, first = made[0]
        assert other.find(text, NOW) is None  # it has not looked yet
        other.refresh()
        assert other.find(text, NOW) == first
        assert [token.name for token in other.all()] == ["token 0", "token 1", "token 2"]
        revoked: ApiToken = first.model_copy(update={"revoked_at": NOW})
        other.put(revoked)
        book.refresh()
        assert book.find(text, NOW) is None
        assert book.all()[0] == revoked
    finally:
        book.close()
        other.close()
