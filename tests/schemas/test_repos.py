"""What a recorded state covers: the whole of what a job wants, in all of its stores, or nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.backfill import Backfill
from schemas.record_types import contains
from schemas.repos import RepoState, destinations_of, is_narrowed

POST = "app.bsky.feed.post"
OUT = {"type": "parquet", "path": "/out"}
TABLE = {"type": "dynamodb", "table_name": "records", "region": "eu-west-1"}


@pytest.mark.parametrize(
    ("have", "want", "is_contained"),
    [
        ([], [], True),
        ([], ["post", "app.bsky.graph.*"], True),
        (["post"], [], False),
        (["app.bsky.*"], [], False),
        (["post", "like"], ["like"], True),
        (["post", "like"], ["like", "follow"], False),
        (["app.bsky.feed.like"], ["like"], True),
        (["like"], ["app.bsky.feed.like"], True),
        (["app.bsky.feed.*"], ["like", "post", "reply", POST, "app.bsky.feed.*"], True),
        (["app.bsky.*"], ["app.bsky.feed.*"], True),
        (["app.bsky.feed.*"], ["app.bsky.*"], False),
        (["app.bsky.fee.*"], ["app.bsky.feed.*", "like"], False),
        (["like"], ["app.bsky.feed.*"], False),
        (["post"], ["post"], True),
        (["post"], ["reply"], False),
        (["post"], [POST], False),
        (["post", "reply"], [POST], True),
        ([POST], ["post"], True),
        ([POST], ["reply", "post"], True),
        (["post", "app.bsky.feed.*"], ["reply"], True),
        (["post", POST], ["reply"], True),
    ],
)
def test_what_record_types_take_in(have: list[str], want: list[str], is_contained: bool) -> None:
    assert contains(have, want) is is_contained


def job(**fields: Any) -> Backfill:
    plain = {"source": {"type": "inline", "dids": ["did:plc:x"]}, "storage": OUT}
    return Backfill.model_validate(plain | fields)


def state(**fields: Any) -> RepoState:
    plain = {
        "did": "did:plc:x",
        "rev": "3l2zpzt4skc2a",
        "commit": "bafy",
        "strategy": "repo",
        "proof": "commit",
        "selection": "",
        "record_types": [],
        "narrowed": False,
        "destinations": destinations_of(job(storage=[OUT, TABLE])),
        "records": 1,
        "job_id": "before",
        "fetched_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return RepoState.model_validate(plain | fields)


@pytest.mark.parametrize(
    ("recorded", "wanted", "is_covered"),
    [
        ({}, {}, True),
        ({}, {"storage": [TABLE, OUT]}, True),
        ({}, {"storage": TABLE | {"region": "us-west-2"}}, False),
        ({}, {"storage": {"type": "parquet", "path": "/elsewhere"}}, False),
        ({"destinations": ["parquet:/out"]}, {"storage": [OUT, TABLE]}, False),
        ({"strategy": "since"}, {}, True),
        ({"strategy": "list", "proof": "cid"}, {}, False),
        ({"rev": ""}, {}, False),
        ({"narrowed": True}, {}, False),
        ({"record_types": ["post"]}, {}, False),
        ({"record_types": ["post"]}, {"record_types": ["post"]}, True),
        ({}, {"time_range": {"start_date": "2025-01-01"}, "uris": ["at://did:plc:x/a.b.c/d"]}, True),
    ],
)
def test_what_a_state_covers(recorded: dict[str, Any], wanted: dict[str, Any], is_covered: bool) -> None:
    assert state(**recorded).covers(job(**wanted)) is is_covered


def test_a_state_of_a_version_that_did_not_say_covers_nothing() -> None:
    fields = state().model_dump(mode="json", exclude={"record_types", "narrowed"})
    assert not RepoState.model_validate(fields).covers(job(record_types=["post"]))


def test_what_narrows_a_selection() -> None:
    assert not is_narrowed(job(record_types=["post"]))
    assert not is_narrowed(job(time_range={}))
    assert is_narrowed(job(time_range={"end_date": "2025-01-01"}))
    assert is_narrowed(job(uris=["at://did:plc:x/a.b.c/d"]))
