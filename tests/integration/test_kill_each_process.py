"""A first taste of the promise: every process is killed in mid-work, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from local.network.faults import Corrupted, Moved, Unavailable
from local.network.network import Network
from schemas.job_status import Counts, JobStatus
from tests.integration.rig import compared, running, settings_for

ACCOUNTS = 200
TABLE = "killed_backfill"


def document(dids: list[str], parquet: Path, table: str) -> bytes:
    return orjson.dumps(
        {
            "backfill": {
                "name": "killed",
                "source": {"type": "inline", "dids": dids},
                "processing": {"requests_per_second": 6, "max_concurrent_per_pds": 4, "batch_size": 40},
                "storage": [
                    {"type": "parquet", "path": str(parquet)},
                    {"type": "dynamodb", "table_name": table},
                ],
            }
        }
    )


@pytest.mark.timeout(300)
async def test_each_process_is_killed_once_and_every_record_is_stored_once(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = prefix + TABLE
    faults = [
        Unavailable(account=3),
        Moved(account=5, to_host=0),
        Corrupted(account=7),
    ]
    async with Network(seed=11, accounts=ACCOUNTS, hosts=4, records=60, faults=faults) as network:
        settings = settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data")
        async with running(settings, monkeypatch=monkeypatch) as rig:
            rig.publish("killed", document(list(network.dids), tmp_path / "parquet", table))
            await rig.status("killed", lambda job: job.totals.terminal > 5)
            killed = []
            for name in ("worker-0", "sink-parquet", "tracker", "producer", "worker-1", "sink-dynamodb"):
                before = rig.board.of("killed")
                assert before is not None
                assert not before.final, f"the job ended before {name} could be killed"
                await rig.kill(name)
                killed.append(name)
                await asyncio.sleep(1.0)
            job = await rig.status("killed", lambda job: job.final)
            await rig.drained()
            await rig.logged("producer", "ALERT job killed ended as partial_success")
            assert all(rig.process(name).restarts >= 1 for name in killed)
            hosts = await rig.hosts(job.job_id)
        for store in await compared(network, tmp_path / "parquet", settings.dynamodb, table):
            assert store.exact, store
        assert_exact_counts(job, hosts, network)


def assert_exact_counts(job: JobStatus, hosts: dict[str, Counts], network: Network) -> None:
    truth = list(network.truth())
    ok = [account for account in truth if account.state == "ok"]
    assert job.status == "partial_success"
    assert job.total == ACCOUNTS
    assert job.totals.completed == len(ok) == ACCOUNTS - 2
    assert job.totals.unavailable == 1
    assert job.totals.failed == 1
    assert job.totals.retrying == 0
    assert job.reasons == {"RepoTakendown": 1, "BlockMismatch": 1}
    assert job.totals.records == sum(len(account.records) for account in ok)
    assert job.totals.dropped.get("invalid", 0) == sum(len(account.invalid) for account in ok)
    assert sum(host.completed for host in hosts.values()) == len(ok)
    assert sum(host.records for host in hosts.values()) == job.totals.records
