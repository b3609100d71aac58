"""Jobs one after the other on the same accounts: each leaves what a fresh backfill would, and asks for no
more than it has to.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.dataset as ds
import pytest

from local.compare import Stored, compare
from local.network.network import Network
from local.network.truth import RecordTruth
from schemas.backfill import Backfill
from schemas.job_status import JobStatus
from stream_workers.fetch.selection import Selection
from tests.integration.rig import Rig, running, settings_for

ACCOUNTS = 10
POST, PROFILE = "app.bsky.feed.post", "app.bsky.actor.profile"


class Jobs:
    """Starts jobs one after the other, and holds their rows against the truth."""

    def __init__(self, rig: Rig, network: Network, folder: Path) -> None:
        self.rig, self.network, self.folder = rig, network, folder

    async def run(self, job_id: str, out: str, **fields: Any) -> JobStatus:
        """The job's status when it has ended; `out` names its folder."""
        processing = {"requests_per_second": 1000, **fields.pop("processing", {})}
        backfill = {
            "source": {"type": "inline", "dids": list(self.network.dids)},
            "storage": {"type": "parquet", "path": str(self.folder / out)},
            "processing": processing,
            **fields,
        }
        self.rig.publish(job_id, orjson.dumps({"backfill": backfill}))
        status = await self.rig.status(job_id, lambda job: job.final)
        assert status.status == "complete", status
        return status

    def asked(self, method: str) -> int:
        return self.network.ledger.count(method=f"com.atproto.{method}")

    def rows(self, out: str, job_id: str | None = None) -> list[dict[str, Any]]:
        """Of one job, or the newest row of each URI."""
        files = [str(path) for path in sorted((self.folder / out).glob("*.parquet"))]
        columns = ["uri", "cid", "record", "rev", "job_id", "proof"]
        rows = ds.dataset(files).to_table(columns=columns).to_pylist()
        if job_id is not None:
            return [row for row in rows if row["job_id"] == job_id]
        newest: dict[str, dict[str, Any]] = {}
        for row in rows:
            if row["uri"] not in newest or row["rev"] > newest[row["uri"]]["rev"]:
                newest[row["uri"]] = row
        return list(newest.values())

    def assert_fresh(self, rows: Iterable[dict[str, Any]], types: list[str]) -> None:
        """The rows are what a backfill of these types into an empty folder would write now."""
        stored = [Stored(row["uri"], row["cid"], row["record"]) for row in rows]
        found = compare("rows", list(wanted(self.network, types)), stored)
        assert found.exact, found
        assert found.stored > 0


def wanted(network: Network, types: list[str]) -> Iterable[RecordTruth]:
    document = {
        "source": {"type": "inline", "dids": ["did:plc:x"]},
        "storage": {"type": "parquet", "path": "out"},
        "record_types": types,
    }
    selection = Selection(Backfill.model_validate(document))
    for account in network.truth():
        for record in account.records:
            collection, rkey = record.uri.split("/")[3:]
            if selection.wants_collection(collection):
                verdict = selection.judge(collection, rkey, orjson.dumps(record.record), None)
                if verdict.dropped is None:
                    yield record


@pytest.mark.timeout(600)
async def test_each_job_equals_a_fresh_backfill(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Network(seed=9, accounts=ACCOUNTS, hosts=2, records=60, spread=0.4) as network:
        settings = settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data")
        async with running(settings, workers=1, sinks=["parquet"], monkeypatch=monkeypatch) as rig:
            jobs = Jobs(rig, network, tmp_path)
            await four_selections(jobs)
            await nothing_new(jobs)
            await something_new(jobs)


async def four_selections(jobs: Jobs) -> None:
    """What is there is too little for each of the next: every job fetches all."""
    table = {
        "posts": ("a", ["post"]),
        "likes": ("a", ["like"]),
        "elsewhere": ("b", ["post"]),
        "everything": ("a", []),
    }
    for number, (job_id, (out, types)) in enumerate(table.items(), 1):
        job = await jobs.run(job_id, out, record_types=types, skip_existing="since")
        assert (job.totals.completed, job.totals.skipped) == (ACCOUNTS, 0)
        assert jobs.asked("sync.getRepo") == number * ACCOUNTS
    pages = await jobs.run("pages", "c", record_types=["post", "reply"], processing={"strategy": "list"})
    assert pages.totals.completed == ACCOUNTS
    await jobs.run("again", "a", skip_existing=False)
    await jobs.rig.drained(["parquet"])
    for job_id, (out, types) in {**table, "again": ("a", [])}.items():
        jobs.assert_fresh(jobs.rows(out, job_id), types)
    listed = jobs.rows("c")
    jobs.assert_fresh(listed, ["post", "reply"])
    assert {row["proof"] for row in listed} == {"cid"}


async def nothing_new(jobs: Jobs) -> None:
    """All is in the folder: without a question, or for one small answer an account."""
    before = jobs.asked("sync.getRepo")
    skipping = await jobs.run("skipping", "a", skip_existing=True, record_types=["post", "app.bsky.graph.*"])
    assert (skipping.totals.skipped, skipping.totals.completed) == (ACCOUNTS, 0)
    assert jobs.asked("sync.getRepo") == before
    await jobs.rig.kill("producer")
    sent = sum(jobs.network.ledger.bytes_sent(f"pds{n}") for n in range(2))
    unchanged = await jobs.run("unchanged", "a", skip_existing="since")
    assert (unchanged.totals.skipped, unchanged.totals.completed) == (ACCOUNTS, 0)
    assert jobs.asked("sync.getRepo") == before + ACCOUNTS
    assert sum(jobs.network.ledger.bytes_sent(f"pds{n}") for n in range(2)) - sent == 59 * ACCOUNTS


async def something_new(jobs: Jobs) -> None:
    """Only that comes, and with it the folder is what a fresh backfill would be."""
    new = {"$type": POST, "text": "new", "createdAt": "2026-07-01T00:00:00Z"}
    jobs.network.write(0, f"{POST}/3zaaaaaaaaaa2", new)
    jobs.network.write(1, f"{PROFILE}/self", {"$type": PROFILE, "displayName": "after"})
    job = await jobs.run("new", "a", skip_existing="since")
    assert (job.totals.completed, job.totals.skipped, job.totals.records) == (2, ACCOUNTS - 2, 2)
    last = await jobs.run("last", "a", skip_existing="since")
    assert last.totals.skipped == ACCOUNTS
    await jobs.rig.drained(["parquet"])
    assert len(jobs.rows("a", "new")) == 2
    jobs.assert_fresh(jobs.rows("a"), [])
