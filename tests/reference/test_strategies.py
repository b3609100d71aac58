"""The fetch strategies on accounts whose records were written, listed and signed by code that is not ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.reference import accounts
from tests.reference.accounts import Account
from tests.reference.fetching import Fetching, Interrupted, fetching
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
