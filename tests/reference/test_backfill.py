"""Real input: accounts on two reference PDSs, backfilled, and held record by record against listRecords."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
import pytest_asyncio

from local.compare import Stored, dynamodb_records, parquet_records
from schemas.job_status import JobStatus
from schemas.settings import Settings
from tests.integration.rig import Rig, running, settings_for
from tests.reference import accounts
from tests.reference.accounts import Account
from tests.reference.reference import ReferenceNetwork

pytestmark = pytest.mark.reference

Listing = dict[str, tuple[str, accounts.Record]]
"""URI to (CID, value)."""


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def populate(session: aiohttp.ClientSession, network: ReferenceNetwork, number: int) -> list[Account]:
    """Accounts on both PDSs with posts, replies, likes, reposts and follows, some updated, some deleted."""
    made = [await accounts.create_account(session, network.pds_urls[n % 2]) for n in range(number)]
    for n, account in enumerate(made):
        posts = await accounts.create_records(
            session, account, [accounts.post(f"post {i} of {n}: ünïcode 🌊") for i in range(30 + 40 * n)]
        )
        friend = made[(n + 1) % number]
        await accounts.create_records(
            session,
            account,
            [accounts.like(post) for post in posts[:15]]
            + [accounts.repost(post) for post in posts[:5]]
            + [accounts.post("a reply", reply_to=posts[0]), accounts.follow(friend.did)],
        )
        await accounts.put_record(session, account, accounts.profile("before"), "self")
        await accounts.put_record(session, account, accounts.profile(f"after {n}"), "self")
        for post in posts[5:8]:
            await accounts.delete_record(session, account, post)
    return made


async def listed(session: aiohttp.ClientSession, made: list[Account]) -> Listing:
    """What the PDSs themselves say is there."""
    everything: Listing = {}
    for account in made:
        records = await accounts.list_all_records(session, account.pds, account.did)
        everything |= {f"at://{account.did}/{path}": record for path, record in records.items()}
    return everything


async def backfill(rig: Rig, name: str, dids: list[str], parquet: Path, table: str) -> JobStatus:
    document = {
        "source": {"type": "inline", "dids": dids},
        "processing": {"requests_per_second": 50},
        "storage": [{"type": "parquet", "path": str(parquet)}, {"type": "dynamodb", "table_name": table}],
    }
    rig.publish(name, orjson.dumps({"backfill": document}))
    job = await rig.status(name, lambda job: job.final)
    await rig.drained()
    return job


def settings_of(network: ReferenceNetwork, kafka: str, dynamodb: str, prefix: str, data: Path) -> Settings:
    return settings_for(kafka, dynamodb, prefix, network.plc_url, data)


def once_each(stored: list[Stored]) -> Listing:
    found = {row.uri: (row.cid, orjson.loads(row.record)) for row in stored}
    assert len(found) == len(stored), "a record is stored more than once"
    return found


@pytest.mark.timeout(900)
async def test_both_stores_hold_what_list_records_answers(
    reference_network: ReferenceNetwork,
    session: aiohttp.ClientSession,
    kafka: str,
    dynamodb: str,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = await populate(session, reference_network, 6)
    gone = await accounts.create_account(session, reference_network.pds_urls[0])
    await accounts.create_record(session, gone, accounts.post("not for long"))
    await accounts.take_account_down(session, gone)
    truth = await listed(session, made)
    parquet, table = tmp_path / "parquet", f"{prefix}reference"
    settings = settings_of(reference_network, kafka, dynamodb, prefix, tmp_path / "data")
    async with running(settings, monkeypatch=monkeypatch) as rig:
        job = await backfill(rig, "reference", [a.did for a in [*made, gone]], parquet, table)
    assert job.status == "complete"
    assert (job.totals.completed, job.totals.unavailable) == (len(made), 1)
    assert job.reasons == {"RepoTakendown": 1}
    assert once_each(list(parquet_records(parquet))) == truth
    assert once_each(list(dynamodb_records(settings.dynamodb, table))) == truth
    assert job.totals.records == len(truth)


@pytest.mark.timeout(900)
async def test_accounts_that_are_writing_meanwhile(
    reference_network: ReferenceNetwork,
    session: aiohttp.ClientSession,
    kafka: str,
    dynamodb: str,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A PDS streams without a snapshot: a download that lacks blocks is repeated until one is whole."""
    made = await populate(session, reference_network, 4)
    before = await listed(session, made)
    written: Listing = {}
    stop = asyncio.Event()

    async def keep_writing(account: Account) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            record = accounts.post(f"meanwhile {number}")
            made = await accounts.create_record(session, account, record)
            written[made.uri] = (made.cid, record)
            await asyncio.sleep(0.02)

    parquet, table = tmp_path / "parquet", f"{prefix}writing"
    settings = settings_of(reference_network, kafka, dynamodb, prefix, tmp_path / "data")
    async with running(settings, monkeypatch=monkeypatch) as rig, asyncio.TaskGroup() as writers:
        for account in made:
            writers.create_task(keep_writing(account))
        try:
            job = await backfill(rig, "writing", [a.did for a in made], parquet, table)
        finally:
            stop.set()
    assert job.status == "complete", job
    assert len(written) > len(made), "nobody wrote anything meanwhile"
    for stored in (parquet_records(parquet), dynamodb_records(settings.dynamodb, table)):
        found = once_each(list(stored))
        assert before.items() <= found.items(), "a record from before the job is missing"
        new = found.keys() - before.keys()
        assert all(found[uri] == written[uri] for uri in new), "a record that nobody wrote"
