"""The fetch strategies on accounts whose records were written, listed and signed by code that is not ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from stream_workers.fetch.ending import Fetched, Retry, Unchanged
from tests.reference import accounts
from tests.reference.accounts import Account
from tests.reference.fetching import Event, Fetching, Interrupted, events_of, fetching
from tests.reference.reference import ReferenceNetwork

NOTE = "com.example.note"
"""A collection that the PDS knows no rules for: any key will do."""

pytestmark = pytest.mark.reference


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest_asyncio.fixture
async def place(reference_network: ReferenceNetwork, tmp_path: Path) -> AsyncIterator[Fetching]:
    async with fetching(reference_network, tmp_path) as place:
        yield place


async def an_account(session: aiohttp.ClientSession, network: ReferenceNetwork, posts: int) -> Account:
    """Posts, some of them dated back, likes, keys of every kind, and a profile."""
    account = await accounts.create_account(session, network.pds_urls[0])
    made = await accounts.create_records(
        session, account, [accounts.post(f"post {n}: ünïcode 🌊") for n in range(posts)]
    )
    long_ago = datetime(2019, 5, 4, 3, 2, 1, tzinfo=UTC)
    backdated = [accounts.post(f"then {n}", created_at=long_ago) for n in range(5)]
    await accounts.create_records(session, account, [*backdated, *map(accounts.like, made[:20])])
    await accounts.create_record(session, account, accounts.post("under an old key"), rkey="3jzfcijpj2z2a")
    for rkey in ("my-own:key_~.1", "AAA", "zzz"):
        note = {"$type": NOTE, "createdAt": "2025-01-01T00:00:00Z", "data": {"$bytes": "AAEC"}}
        await accounts.create_record(session, account, note, rkey=rkey)
    await accounts.put_record(session, account, accounts.profile("before"), "self")
    await accounts.put_record(session, account, accounts.profile("after"), "self")
    await accounts.delete_record(session, account, made[3])
    return account


async def test_pages_give_the_same_events_as_the_repository(
    reference_network: ReferenceNetwork, session: aiohttp.ClientSession, place: Fetching
) -> None:
    account = await an_account(session, reference_network, posts=230)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    for selected, count in (
        ({}, 230 + 5 + 20 + 4 + 1 - 1),
        ({"record_types": ["post"], "time_range": {"end_date": "2020-01-01"}}, 5),
        ({"time_range": {"end_date": "2024-01-01", "by": "rkey"}}, 1),
        ({"time_range": {"start_date": today, "by": "rkey"}}, 230 + 5 + 20 - 1),
        ({"uris": [f"at://{account.did}/{NOTE}/{rkey}" for rkey in ("zzz", "AAA", "gone")]}, 2),
    ):
        listed = await place.events(account, "list", **selected)
        assert len(listed) == count
        assert listed == await place.events(account, **selected)


async def test_an_account_that_writes_while_its_pages_are_listed(
    reference_network: ReferenceNetwork, session: aiohttp.ClientSession, place: Fetching
) -> None:
    account = await an_account(session, reference_network, posts=120)

    async def write() -> None:
        await accounts.create_record(session, account, accounts.post("meanwhile"))

    writer = Interrupted("listRecords", 6, write)
    listed = await place.events(account, "list", limiter=writer)
    assert writer.left == 0
    assert sum(event["commit"]["record"].get("text") == "meanwhile" for event in listed) == 6
    assert listed == await place.events(account)


async def known(place: Fetching, account: Account) -> dict[str, str]:
    """What a task says that knows the account's present state."""
    ending = await place.go(account)
    assert isinstance(ending, Fetched)
    return {"since": ending.rev, "since_commit": ending.commit}


def paths(events: list[Event]) -> list[str]:
    return [f"{event['commit']['collection']}/{event['commit']['rkey']}" for event in events]


async def test_what_came_since_a_known_rev(
    reference_network: ReferenceNetwork, session: aiohttp.ClientSession, place: Fetching
) -> None:
    account = await an_account(session, reference_network, posts=150)
    task = await known(place, account)
    assert isinstance(await place.go(account, task=task), Unchanged)

    new = await accounts.create_record(session, account, accounts.post("new"))
    await accounts.put_record(session, account, accounts.profile("new"), "self")
    ending = await place.go(account, task=task)
    assert isinstance(ending, Fetched)
    assert (ending.strategy, ending.since) == ("since", task["since"])
    found = events_of(ending)
    assert paths(found) == ["app.bsky.actor.profile/self", f"app.bsky.feed.post/{new.rkey}"]
    everything = await place.events(account)
    whole = dict(zip(paths(everything), everything, strict=True))
    assert found == [whole[path] for path in paths(found)]
    assert all(event["commit"]["rev"] == ending.rev for event in found)


async def test_a_deletion_does_not_show_and_hides_nothing(
    reference_network: ReferenceNetwork, session: aiohttp.ClientSession, place: Fetching
) -> None:
    account = await an_account(session, reference_network, posts=60)
    gone = await accounts.create_record(session, account, accounts.post("gone"))
    task = await known(place, account)
    await accounts.delete_record(session, account, gone)
    ending = await place.go(account, task=task)
    assert isinstance(ending, Fetched)
    assert (ending.since, events_of(ending)) == (task["since"], [])
    new = await accounts.create_record(session, account, accounts.post("new"))
    assert paths(await place.events(account, task=task)) == [f"app.bsky.feed.post/{new.rkey}"]


async def test_a_record_made_anew_with_the_same_content(
    reference_network: ReferenceNetwork, session: aiohttp.ClientSession, place: Fetching
) -> None:
    """Its block may have come with an older rev, and then does not come again."""
    account = await an_account(session, reference_network, posts=60)
    note = {"$type": NOTE, "createdAt": "2025-01-01T00:00:00Z", "text": "twice"}
    first = await accounts.create_record(session, account, note, rkey="first")
    task = await known(place, account)

    # Deleted and made again under its key: the stores have it, whether it comes or not.
    await accounts.delete_record(session, account, first)
    await accounts.create_record(session, account, note, rkey="first")
    assert paths(await place.events(account, task=task)) in ([], [f"{NOTE}/first"])

    # Under a new key, while its block is still there: nothing comes, so all does.
    task = await known(place, account)
    second = await accounts.create_record(session, account, note)
    ending = await place.go(account, task=task)
    assert isinstance(ending, Fetched)
    assert (ending.strategy, ending.since) == ("repo", None)
    assert f"{NOTE}/{second.rkey}" in paths(events_of(ending))


async def test_an_account_that_writes_while_its_difference_comes(
    reference_network: ReferenceNetwork, session: aiohttp.ClientSession, place: Fetching
) -> None:
    """Whatever comes of it, nothing that was there before the request is missing."""
    account = await an_account(session, reference_network, posts=60)
    whole = {}
    stop = asyncio.Event()
    written: list[str] = []

    async def keep_writing() -> None:
        while not stop.is_set():
            made = await accounts.create_records(session, account, [accounts.post("meanwhile")] * 3)
            written.extend(record.rkey for record in made)

    task = await known(place, account)
    async with asyncio.TaskGroup() as writers:
        writers.create_task(keep_writing())
        try:
            kinds = set()
            for _ in range(12):
                there = set(written)
                ending = await place.go(account, task=task)
                if isinstance(ending, Unchanged | Retry):
                    continue
                assert isinstance(ending, Fetched)
                kinds.add(ending.strategy)
                whole |= dict.fromkeys(paths(events_of(ending)))
                assert {f"app.bsky.feed.post/{rkey}" for rkey in there} <= whole.keys()
                task = {"since": ending.rev, "since_commit": ending.commit}
        finally:
            stop.set()
    assert "since" in kinds
    last = await place.go(account, task=task)
    if isinstance(last, Fetched):
        whole |= dict.fromkeys(paths(events_of(last)))
    assert {f"app.bsky.feed.post/{rkey}" for rkey in written} <= whole.keys()
    assert len(written) > 20
