"""Selection: what a document says is what is taken, record by record, and nothing besides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from atp.tid import from_microseconds
from stream_workers.fetch.selection import Selection
from tests.stream_workers.documents import DID, backfill

POST, LIKE, GATE = "app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.feed.threadgate"
FOLLOW, ARTICLE = "app.bsky.graph.follow", "com.whtwnd.blog.entry"
PLAIN = {"text": "a post"}
ANSWER = {"text": "a reply", "reply": {"root": {}, "parent": {}}}
SELF = "self"
"""An rkey that is no TID."""


def selected(types: list[str], collection: str, record: dict[str, Any] | None = None) -> bool:
    """Whether a record of this type comes through both gates."""
    selection = Selection(backfill(record_types=types))
    if selection.wants_key(DID)(collection, "3l2zpzt4skc2a") is not None:
        return False
    verdict = selection.judge(collection, "3l2zpzt4skc2a", orjson.dumps(record or {}), None)
    assert verdict.dropped in (None, "record_type")
    return verdict.dropped is None


def tid_of(text: str) -> str:
    """The TID of an instant."""
    at = datetime.fromisoformat(text)
    return from_microseconds((at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))


# Types


@pytest.mark.parametrize(
    ("types", "wanted"),
    [
        ([], {POST, LIKE, GATE, FOLLOW, ARTICLE}),
        ([LIKE], {LIKE}),
        (["like", "follow"], {LIKE, FOLLOW}),
        (["app.bsky.feed.*"], {POST, LIKE, GATE}),
        (["app.bsky.*"], {POST, LIKE, GATE, FOLLOW}),
        (["app.bsky.graph.*", LIKE], {LIKE, FOLLOW}),
        (["app.bsky.fee.*"], set()),
        (["com.whtwnd.blog.entry"], {ARTICLE}),
        (["post", "like"], {POST, LIKE}),
    ],
)
def test_types_families_and_short_names(types: list[str], wanted: set[str]) -> None:
    found = {c for c in (POST, LIKE, GATE, FOLLOW, ARTICLE) if selected(types, c, PLAIN)}
    assert found == wanted


def test_a_family_ends_at_its_dot() -> None:
    assert not selected(["app.bsky.feed.*"], "app.bsky.feedback.note")
    assert not selected(["app.bsky.feed.*"], "app.bsky.feed")


@pytest.mark.parametrize(
    ("types", "posts", "replies"),
    [
        (["post"], True, False),
        (["reply"], False, True),
        (["post", "reply"], True, True),
        ([POST], True, True),
        (["post", POST], True, True),
        (["reply", POST], True, True),
        (["post", "app.bsky.feed.*"], True, True),
        (["reply", "app.bsky.*"], True, True),
        (["post", "app.bsky.graph.*"], True, False),
        (["like"], False, False),
        ([], True, True),
    ],
)
def test_a_reply_is_a_post_with_reply(types: list[str], posts: bool, replies: bool) -> None:
    assert selected(types, POST, PLAIN) is posts
    assert selected(types, POST, ANSWER) is replies


def test_a_reply_of_null_is_no_reply() -> None:
    assert selected(["post"], POST, {"text": "x", "reply": None})
    assert not selected(["reply"], POST, {"text": "x", "reply": None})


def test_the_short_names_split_posts_only() -> None:
    assert selected(["post", "like"], LIKE, {"reply": {"root": {}}})


# Days


def dropped(
    created_at: str | None, rkey: str = SELF, *, by: str = "created_at", **days: str
) -> tuple[str | None, bool]:
    """The verdict on a record under this time range."""
    selection = Selection(backfill(time_range={"by": by, **days}))
    verdict = selection.judge(POST, rkey, orjson.dumps(PLAIN), created_at)
    return verdict.dropped, verdict.undated


@pytest.mark.parametrize(
    ("created_at", "inside"),
    [
        ("2024-02-27T23:59:59.999999Z", False),
        ("2024-02-28T00:00:00Z", True),
        ("2024-02-29T12:00:00Z", True),
        ("2024-02-29T23:59:59.999999Z", True),
        ("2024-02-29T23:59:59.9999999999Z", True),
        ("2024-03-01T00:00:00Z", False),
    ],
)
def test_days_are_whole_and_both_ends_belong(created_at: str, inside: bool) -> None:
    why = dropped(created_at, start_date="2024-02-28", end_date="2024-02-29")
    assert why == (None if inside else "time_range", False)


@pytest.mark.parametrize(
    ("created_at", "inside"),
    [
        ("2024-05-02T08:59:59+09:00", True),
        ("2024-05-02T09:00:00+09:00", False),
        ("2024-04-30T20:00:00-04:00", True),
        ("2024-04-30T19:59:59-04:00", False),
    ],
)
def test_days_are_those_of_utc(created_at: str, inside: bool) -> None:
    why = dropped(created_at, start_date="2024-05-01", end_date="2024-05-01")
    assert why == (None if inside else "time_range", False)


def test_an_open_end_has_no_bound() -> None:
    assert dropped("9999-12-31T23:59:59Z", start_date="2024-01-01") == (None, False)
    assert dropped("0001-01-01T00:00:00Z", end_date="2024-01-01") == (None, False)
    assert dropped("2023-12-31T23:59:59Z", start_date="2024-01-01") == ("time_range", False)
    assert dropped("2024-01-02T00:00:00Z", end_date="2024-01-01") == ("time_range", False)
    assert dropped(None) == (None, False)


@pytest.mark.parametrize(
    "unusable",
    [
        None,
        "",
        "yesterday",
        "2024-05-01",
        "2024-05-01T12:00:00",
        "2024-13-45T25:61:00Z",
        "2025-02-30T12:00:00Z",
    ],
)
def test_without_a_usable_created_at_the_tid_decides_and_is_counted(unusable: str | None) -> None:
    day = {"start_date": "2024-05-01", "end_date": "2024-05-01"}
    assert dropped(unusable, tid_of("2024-05-01T23:59:59.999999+00:00"), **day) == (None, True)
    assert dropped(unusable, tid_of("2024-05-02T00:00:00+00:00"), **day) == ("time_range", True)
    assert dropped(unusable, SELF, **day) == ("time_range", True)


def test_a_usable_created_at_outweighs_the_tid() -> None:
    day = {"start_date": "2024-05-01", "end_date": "2024-05-01"}
    assert dropped("2024-05-01T12:00:00Z", tid_of("2020-01-01T00:00:00+00:00"), **day) == (None, False)
    assert dropped("2020-01-01T00:00:00Z", tid_of("2024-05-01T12:00:00+00:00"), **day) == (
        "time_range",
        False,
    )


def test_by_rkey_the_tid_alone_decides() -> None:
    day = {"start_date": "2024-05-01", "end_date": "2024-05-01", "by": "rkey"}
    assert dropped("2020-01-01T00:00:00Z", tid_of("2024-05-01T12:00:00+00:00"), **day) == (None, False)
    assert dropped("2024-05-01T12:00:00Z", tid_of("2020-01-01T00:00:00+00:00"), **day) == (
        "time_range",
        False,
    )
    assert dropped("2024-05-01T12:00:00Z", SELF, **day)[0] == "time_range"


# URIs, and several conditions at once


def test_uris_name_single_records() -> None:
    wanted = [f"at://{DID}/{POST}/3l2zpzt4skc2a", f"at://{DID}/app.bsky.actor.profile/self"]
    why_not = Selection(backfill(uris=wanted)).wants_key(DID)
    assert why_not(POST, "3l2zpzt4skc2a") is None
    assert why_not("app.bsky.actor.profile", "self") is None
    assert why_not(POST, "3l2zpzt4skc2b") == "uri"
    assert why_not(LIKE, "3l2zpzt4skc2a") == "uri"
    other = Selection(backfill(uris=wanted)).wants_key("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
    assert other(POST, "3l2zpzt4skc2a") == "uri"


def test_all_conditions_hold_together() -> None:
    selection = Selection(
        backfill(
            record_types=["reply"],
            uris=[f"at://{DID}/{POST}/3l2zpzt4skc2a", f"at://{DID}/{LIKE}/3l2zpzt4skc2a"],
            time_range={"start_date": "2024-05-01"},
        )
    )
    why_not = selection.wants_key(DID)
    assert why_not(LIKE, "3l2zpzt4skc2a") == "record_type"
    assert why_not(POST, "3l2zpzt4skc2b") == "uri"
    assert why_not(POST, "3l2zpzt4skc2a") is None
    inside, outside = "2024-05-01T00:00:00Z", "2024-04-30T00:00:00Z"
    assert selection.judge(POST, "r", orjson.dumps(ANSWER), inside).dropped is None
    assert selection.judge(POST, "r", orjson.dumps(PLAIN), inside).dropped == "record_type"
    assert selection.judge(POST, "r", orjson.dumps(ANSWER), outside).dropped == "time_range"


# The fingerprint


def fingerprint(**fields: Any) -> str:
    return Selection(backfill(**fields)).fingerprint


def test_the_order_of_lists_does_not_change_the_fingerprint() -> None:
    uris = [f"at://{DID}/{POST}/{rkey}" for rkey in ("a", "b")]
    days = {"start_date": "2024-01-01", "end_date": "2024-01-31"}
    one = fingerprint(record_types=["like", "post"], uris=uris, time_range=days)
    other = fingerprint(
        time_range=dict(reversed(days.items())), uris=uris[::-1] + uris, record_types=["post", "like", "post"]
    )
    assert one == other


def test_what_does_not_select_does_not_change_the_fingerprint() -> None:
    assert fingerprint(name="one") == fingerprint(name="two", processing={"max_retries": 0})


def test_what_selects_changes_the_fingerprint() -> None:
    documents: list[dict[str, Any]] = [
        {},
        {"record_types": ["post"]},
        {"record_types": ["reply"]},
        {"record_types": ["post", "reply"]},
        {"time_range": {"start_date": "2024-01-01"}},
        {"time_range": {"end_date": "2024-01-01"}},
        {"time_range": {"start_date": "2024-01-01", "by": "rkey"}},
        {"uris": [f"at://{DID}/{POST}/a"]},
    ]
    assert len({fingerprint(**fields) for fields in documents}) == len(documents)


# Keys


def window_of(**time_range: Any) -> tuple[str | None, str | None] | None:
    return Selection(backfill(time_range=time_range)).window


def test_the_window_of_keys_is_there_where_keys_decide() -> None:
    days = {"start_date": "2025-03-01", "end_date": "2025-03-31"}
    first, end = tid_of("2025-03-01T00:00:00+00:00"), tid_of("2025-04-01T00:00:00+00:00")
    assert window_of(**days) is None
    assert window_of(**days, by="rkey") == (first, end)
    assert window_of(**days, margin_days=0) == (first, end)
    assert window_of(**days, margin_days=31) == (
        tid_of("2025-01-29T00:00:00+00:00"),
        tid_of("2025-05-02T00:00:00+00:00"),
    )
    assert window_of(start_date="2025-03-01", by="rkey") == (first, None)
    assert window_of(end_date="2025-03-31", by="rkey") == (None, end)
    assert window_of(start_date="1900-01-01", end_date="2900-01-01", by="rkey") == (None, None)
    assert window_of(margin_days=3) is None
    assert Selection(backfill()).window is None


def test_a_margin_leaves_out_keys_from_beyond_it() -> None:
    days = {"start_date": "2025-03-01", "end_date": "2025-03-31", "margin_days": 2}
    judge = Selection(backfill(time_range=days)).judge
    within, beyond = tid_of("2025-02-27T00:00:00+00:00"), tid_of("2025-02-26T23:59:59+00:00")
    assert judge(POST, within, b"{}", "2025-03-05T00:00:00Z").dropped is None
    assert judge(POST, beyond, b"{}", "2025-03-05T00:00:00Z").dropped == "time_range"
    assert judge(POST, "self", b"{}", "2025-03-05T00:00:00Z").dropped == "time_range"
    assert judge(POST, within, b"{}", "2025-04-05T00:00:00Z").dropped == "time_range"


def test_an_accounts_own_keys() -> None:
    uris = [f"at://{DID}/{LIKE}/b", f"at://{DID}/{POST}/a", f"at://{DID}x/{POST}/c", f"at://{DID}/{LIKE}/a"]
    assert Selection(backfill(uris=uris)).keys_of(DID) == [(LIKE, "a"), (LIKE, "b"), (POST, "a")]
    assert Selection(backfill(uris=uris, record_types=["post"])).keys_of(DID) == [(POST, "a")]
    assert Selection(backfill(uris=uris)).keys_of("did:plc:another") == []
    assert Selection(backfill()).keys_of(DID) is None
