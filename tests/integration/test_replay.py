"""Accounts that fail, are looked at and replayed by the commands that people have, until all is there."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from local.network.faults import Corrupted, Fault, HostDown, InvalidRecord, ServerError, Unavailable
from local.network.network import Network
from sinks.reports import ACCOUNTS, SUMMARY, report_of
from tests.cli.command import Ended, Skyfill
from tests.integration.rig import Rig, compared, environment, running, settings_for

DEAD = 2
BROKEN: list[Fault] = [
    ServerError(account=0),
    ServerError(account=1),
    Corrupted(account=3),
    HostDown(host=DEAD),
]
LASTING: list[Fault] = [Unavailable(account=4), InvalidRecord(account=6)]
ACCOUNTS_, HOSTS = 12, 3
JOB = "mine"


@pytest.fixture
def skyfill(tmp_path: Path) -> Iterator[Skyfill]:
    made = Skyfill(tmp_path, {})
    yield made
    made.close()


@pytest.mark.timeout(240)
async def test_what_failed_is_replayed_until_the_job_is_complete(
    kafka: str,
    dynamodb: str,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    skyfill: Skyfill,
) -> None:
    table, parquet = f"{prefix}replays", tmp_path / "parquet"
    async with Network(
        seed=6, accounts=ACCOUNTS_, hosts=HOSTS, records=20, faults=[*BROKEN, *LASTING]
    ) as network:
        settings = settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data")
        skyfill.env = environment(settings)  # type: ignore[misc]
        document = {
            "source": {"type": "inline", "dids": list(network.dids)},
            "processing": {
                "retry_failures": False,
                "requests_per_second": 50,
                "host_give_up_seconds": 1,
            },
            "storage": [
                {"type": "parquet", "path": str(parquet)},
                {"type": "dynamodb", "table_name": table},
            ],
        }
        async with running(settings, monkeypatch=monkeypatch) as rig:
            rig.publish(JOB, orjson.dumps({"backfill": document}))
            job = await rig.status(JOB, lambda job: job.final)
            dead = sum(network.account(n).host == DEAD for n in range(ACCOUNTS_))
            failed = 3 + dead
            assert (job.status, job.totals.failed, job.totals.unavailable) == ("partial_success", failed, 1)
            assert sum(job.totals.errors.values()) == failed + 1, "one attempt each"
            letters = await looked_at(skyfill)

            would = await asks(skyfill, "deadletter", "replay", "--job", JOB, "--dry-run")
            assert would.out.startswith("would replay 4 dead letters of 1 job")
            assert "1 letter is left out: one record is broken" in would.err

            # While the fault lasts, one of them fails again: it has a new letter.
            first = next(letter["id"] for letter in letters if letter["did"] == network.dids[0])
            await said(skyfill, "deadletter", "replay", first, "--wait")
            job = await rig.status(JOB, lambda job: job.final and job.replayed == 1)
            assert (job.totals.failed, job.totals.terminal) == (failed, ACCOUNTS_)
            shown = await said(skyfill, "deadletter", "show", first)
            assert "1 failed" in shown
            report = report_of(parquet, JOB)
            await until_reported(report, 1)

            for fault in BROKEN:
                await network.withdraw(fault)
            told = await said(skyfill, "retry", JOB, "--wait")
            assert "asked to replay 4 dead letters" in told
            assert "4 dead letters are being replayed" in told
            job = await rig.status(JOB, lambda job: job.final and job.replayed == 1 + failed)
            assert (job.status, job.total, job.totals.completed, job.totals.unavailable) == (
                "complete",
                ACCOUNTS_,
                ACCOUNTS_ - 1,
                1,
            )
            assert (job.totals.failed, job.replaying, job.reasons) == (0, 0, {"RepoTakendown": 1})
            hosts = (await rig.hosts(JOB)).values()
            assert job.totals.records == sum(counts.records for counts in hosts)
            assert job.totals.failed_by == {}
            assert all((counts.failed, counts.failed_by) == (0, {}) for counts in hosts)
            fetched = [letter["id"] for letter in letters if letter["stage"] == "fetch" and letter["did"]]
            await nothing_more_comes_of_it(skyfill, rig, fetched)
            await rig.drained()
            await until_reported(report, 1 + failed)
        for store in await compared(network, parquet, settings.dynamodb, table):
            assert store.exact, store
        text = gzip.decompress((report / ACCOUNTS).read_bytes()).decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        assert Counter(row["did"] for row in rows) == Counter(network.dids)
        assert Counter(row["status"] for row in rows) == {"completed": ACCOUNTS_ - 1, "unavailable": 1}


async def looked_at(skyfill: Skyfill) -> list[dict[str, Any]]:
    """What `list` and `show` tell of the job's letters."""
    lines = (await said(skyfill, "deadletter", "list", "--json")).splitlines()
    letters = [json.loads(line) for line in lines]
    assert Counter(letter["stage"] for letter in letters) == {"fetch": 4, "record": 1}
    assert [letter["at"] for letter in letters] == sorted(letter["at"] for letter in letters)
    assert {letter["attempts"] for letter in letters} == {1}, "failures are not retried"
    broken = next(letter["id"] for letter in letters if letter["reason"] == "invalid")
    record = await said(skyfill, "deadletter", "show", broken)
    assert "raw block" in record
    assert "not replayable" in record
    return letters


async def nothing_more_comes_of_it(skyfill: Skyfill, rig: Rig, letters: list[str]) -> None:
    """Replays of what was replayed, by commands and by any Kafka client, change nothing but the history."""
    before = rig.board.of(JOB)
    again = await asks(skyfill, "deadletter", "replay", *letters)
    assert (again.code, "already replayed" in again.err) == (1, True)
    listed = await said(skyfill, "deadletter", "list", "--job", JOB, "--stage", "fetch")
    assert "5 dead letters, 5 replayed" in listed
    rig.publish(JOB, orjson.dumps({"action": "replay", "letters": letters}))
    rig.publish("last", orjson.dumps({"action": "start"}))
    await rig.status("last", lambda job: job.final)
    after = rig.board.of(JOB)
    assert before is not None
    assert after is not None
    assert "already replayed" in (after.history[-1].detail or "")
    same = {"history": before.history, "updated_at": before.updated_at}
    assert after.model_copy(update=same) == before


async def until_reported(report: Path, replayed: int) -> None:
    """Returns when the report is there that tells of so many replays."""
    for _ in range(600):
        if (report / SUMMARY).exists() and json.loads((report / SUMMARY).read_bytes())[
            "replayed"
        ] == replayed:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{report} does not tell of {replayed} replays")


async def asks(skyfill: Skyfill, *arguments: object) -> Ended:
    return await asyncio.to_thread(skyfill.run, *arguments)


async def said(skyfill: Skyfill, *arguments: object) -> str:
    """What a command prints that goes well."""
    ended = await asks(skyfill, *arguments)
    assert ended.code == 0, ended
    return ended.out
