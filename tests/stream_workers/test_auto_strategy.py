"""Strategy `auto`: which way it goes, and which way after that."""

from __future__ import annotations

from typing import Any

import pytest

from local.network.faults import (
    Changing,
    Corrupted,
    CutShort,
    Fault,
    HiddenLimit,
    HostDown,
    ServerError,
    Slow,
)
from stream_workers.fetch.auto_strategy import wants_few
from stream_workers.fetch.ending import Failed, Fetched, Retry
from stream_workers.fetch.selection import Selection
from tests.stream_workers.documents import DID, backfill
from tests.stream_workers.place import GET_REPO, LATEST, LIST, Place

NOW = 1_750_000_000.0
"""The 15th of June 2025."""
MARCH = {"start_date": "2025-03-01", "end_date": "2025-03-31", "by": "rkey"}

CREATED = {"start_date": "2025-03-05", "end_date": "2025-03-24", "margin_days": 5}


@pytest.mark.parametrize(
    ("few", "selected"),
    [
        (False, {}),
        (False, {"record_types": ["post"]}),
        (True, {"uris": [f"at://{DID}/app.bsky.feed.post/{n}" for n in range(25)]}),
        (False, {"uris": [f"at://{DID}/app.bsky.feed.post/{n}" for n in range(26)]}),
        (True, {"uris": ["at://did:plc:another/app.bsky.feed.post/1"]}),
        (True, {"record_types": ["post", "reply", "like"], "time_range": MARCH}),
        (False, {"record_types": ["post", "like", "follow"], "time_range": MARCH}),
        (False, {"record_types": ["app.bsky.graph.*"], "time_range": MARCH}),
        (False, {"time_range": MARCH}),
        (False, {"record_types": ["like"], "time_range": MARCH | {"start_date": "2025-02-28"}}),
        (False, {"record_types": ["like"], "time_range": MARCH | {"by": "created_at"}}),
        (True, {"record_types": ["like"], "time_range": CREATED}),
        (True, {"record_types": ["like"], "time_range": {"start_date": "2025-06-01", "by": "rkey"}}),
        (False, {"record_types": ["like"], "time_range": {"start_date": "2025-05-01", "by": "rkey"}}),
        (False, {"record_types": ["like"], "time_range": {"end_date": "2025-05-01", "by": "rkey"}}),
    ],
)
def test_few_records_are_those_that_a_few_requests_bring(few: bool, selected: dict[str, Any]) -> None:
    assert wants_few(Selection(backfill(**selected)), DID, NOW) is few


async def test_a_window_comes_in_pages_and_all_else_whole(place: Place) -> None:
    window = {"record_types": ["like"], "time_range": MARCH}
    listed = await place.go(place.task(), "auto", **window)
    assert isinstance(listed, Fetched)
    assert (listed.strategy, place.asked(GET_REPO)) == ("list", 0)
    whole = await place.go(place.task(), "auto", record_types=["like"])
    assert isinstance(whole, Fetched)
    assert (whole.strategy, place.asked(GET_REPO)) == ("repo", 1)


@pytest.mark.parametrize("fault", [Changing(0), ServerError(account=0, method="listRecords", status=400)])
async def test_pages_that_do_not_come_are_followed_by_the_repository(
    place: Place,
    fault: Fault,
) -> None:
    await place.network.inject(fault)
    ending = await place.go(place.task(), "auto", record_types=["like"], time_range=MARCH)
    assert isinstance(ending, Fetched)
    assert ending.strategy == "repo"


@pytest.mark.parametrize(
    "fault",
    [
        ServerError(account=0, method="getRepo"),
        CutShort(account=0, method="getRepo"),
        Slow(account=0, method="getRepo", seconds=9),
    ],
)
async def test_a_repository_that_does_not_come_is_listed_in_the_end(place: Place, fault: Fault) -> None:
    await place.network.inject(fault)
    seconds = 0.5 if isinstance(fault, Slow) else 300
    early = await place.go(place.task(attempt=2), "auto", max_retries=2, seconds=seconds)
    assert isinstance(early, Retry)
    assert place.asked(LIST) == 0
    last = await place.go(place.task(attempt=3), "auto", max_retries=2, seconds=seconds)
    assert isinstance(last, Fetched)
    assert (last.strategy, last.proof) == ("list", "cid")
    alone = await place.go(place.task(attempt=3), "repo", max_retries=2, seconds=seconds)
    assert isinstance(alone, Failed)


async def test_an_error_that_no_attempt_would_mend_is_the_last(place: Place) -> None:
    await place.network.inject(ServerError(account=0, method="getRepo", status=401))
    ending = await place.go(place.task(attempt=1), "auto")
    assert isinstance(ending, Fetched)
    assert ending.strategy == "list"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Corrupted(0, "flipped_byte"), "BlockMismatch"),
        (Corrupted(0, "missing_block"), "BlockMissing"),
        (Corrupted(0, "wrong_signature"), "SignatureInvalid"),
        (HiddenLimit(0, limit=0), "RateLimited"),
    ],
)
async def test_what_is_never_listed_instead(place: Place, fault: Fault, reason: str) -> None:
    await place.network.inject(fault)
    ending = await place.go(place.task(attempt=4), "auto")
    assert isinstance(ending, Failed)
    assert ending.reason == reason
    assert place.asked(LATEST) == 0


async def test_an_account_that_comes_neither_way_says_both(place: Place) -> None:
    await place.network.inject(HostDown(0))
    ending = await place.go(place.task(attempt=4), "auto")
    assert isinstance(ending, Failed)
    assert (ending.error_type, ending.reason) == ("network_error", "HostUnreachable")
    assert "getRepo" in ending.detail
    assert "and its pages:" in ending.detail
    assert "getLatestCommit" in ending.detail
