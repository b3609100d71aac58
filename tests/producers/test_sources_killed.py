"""A planner over every kind of source, killed in mid-plan, twice: each account gets exactly one task.

The network that it asks has what a real one has: accounts that moved and are still listed by their old host,
hosts that list other hosts' accounts, rows that are none, a host that is banned.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from local.network.faults import ForeignRows, ListedAs, MalformedRows, Moved, Unavailable
from local.network.network import Network
from producers.run import run_planner
from schemas.job_specs import JobSpec
from schemas.outcomes import JobEvent, PlanOutcome, RepoOutcome
from schemas.plans import PlanCheckpoint
from schemas.settings import NetworkSettings, S3Settings
from tests.producers.deployment import Deployment
from tests.producers.sources.stand import spec_of
from tests.producers.sources.test_lists import content

ROOT = Path(__file__).parents[2]
ACCOUNTS, HOSTS = 60, 5
BATCH = 9
POST, LIKE = "app.bsky.feed.post", "app.bsky.feed.like"
GONE = 7
MOVED = 8
BANNED = 4


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    faults = [
        Unavailable(account=GONE, state="takendown"),
        Moved(account=MOVED, to_host=1),
        ForeignRows(host=1, accounts=(0, 2, BANNED)),
        MalformedRows(host=2, rows=3),
        MalformedRows(host="relay", rows=4),
        ListedAs(host=BANNED, status="banned"),
    ]
    async with Network(seed=3, accounts=ACCOUNTS, hosts=HOSTS, records=4, faults=faults) as network:
        yield network


@pytest.fixture
def sources(
    network: Network, deployment: Deployment, tmp_path: Path, s3: str, prefix: str, monkeypatch: Any
) -> dict[str, dict[str, Any]]:
    """A source of each kind, with all accounts of the network, or as many as it can know of."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    dids, handles = list(network.dids), network.handles
    mixed = [name for pair in zip(dids, handles, strict=True) for name in pair]
    for name, names in (("list.csv.gz", mixed), ("list.parquet", dids), ("list.jsonl.zst", [*dids, *dids])):
        (tmp_path / name).write_bytes(content(name, names))
    with sqlite3.connect(tmp_path / "accounts.db") as database:
        database.execute("CREATE TABLE dids (did TEXT)")
        database.executemany("INSERT INTO dids VALUES (?)", [(name,) for name in dids])
    database.close()
    bucket = prefix.rstrip(".")
    client = boto3.client("s3", endpoint_url=s3, region_name="us-east-1")
    client.create_bucket(Bucket=bucket)
    for part in range(3):
        body = content("x.csv", dids[part * 20 : part * 20 + 20])
        client.put_object(Bucket=bucket, Key=f"accounts/{part}.csv", Body=body)
    client.close()
    return {
        "inline": {"type": "inline", "dids": dids},
        "handles": {"type": "handles", "handles": handles},
        "csv": {"type": "file", "path": str(tmp_path / "list.csv.gz")},
        "parquet": {"type": "file", "path": str(tmp_path / "list.parquet")},
        "jsonl": {"type": "file", "path": str(tmp_path / "list.jsonl.zst")},
        "sqlite": {"type": "sqlite", "path": str(tmp_path / "accounts.db")},
        "s3": {"type": "s3", "path": f"s3://{bucket}/accounts/", "region": "us-east-1"},
        "relay": {"type": "relay"},
        "hosts": {"type": "hosts", "concurrency": 3},
        "collection": {"type": "collection", "collections": [POST, LIKE]},
        "job": {"type": "job", "job_id": "before", "outcome": "failed"},
    }


def earlier_job(deployment: Deployment, failed: list[str], completed: str) -> None:
    """A job that planner, workers and tracker have brought to its end."""
    names = deployment.names
    spec = spec_of({"type": "inline", "dids": ["x"]}, job_id="before")
    deployment.tell(names.job_specs, "before", JobSpec.model_validate(spec))
    deployment.tell(names.plans, "before", PlanCheckpoint(job_id="before", finished=True))
    outcomes = [RepoOutcome(job_id="before", did=did, status="failed") for did in failed]
    deployment.tell(
        names.outcomes,
        "before",
        *outcomes,
        RepoOutcome(job_id="before", did=completed, status="failed"),
        RepoOutcome(job_id="before", did=completed, status="completed"),
    )
    deployment.status("before", total=len(failed) + 1, completed=len(failed) + 1, status="partial_success")


def doomed(deployment: Deployment, settings: Path, point: str) -> None:
    """A planner that lives until this point, with the session it leaves behind."""
    command = [sys.executable, "-m", "tests.producers.doomed", str(settings), point]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-3000:]


async def test_every_kind_of_source_over_a_killed_planner(
    network: Network, deployment: Deployment, sources: dict[str, dict[str, Any]], s3: str, tmp_path: Path
) -> None:
    directory = NetworkSettings(
        plc_url=network.plc_url,
        handle_url=network.plc_url,
        relay_url=network.relay_url,
        allow_private_hosts=True,
    )
    deployment.settings = deployment.settings.model_copy(
        update={"network": directory, "s3": S3Settings(endpoint_url=s3)}
    )
    file = tmp_path / "settings.json"
    file.write_text(deployment.settings.model_dump_json())
    everybody = list(network.dids)
    earlier_job(deployment, everybody[:40], everybody[50])
    for kind, source in sources.items():
        processing = {"batch_size": BATCH, "requests_per_second": 10_000}
        deployment.start(kind, [], source=source, processing=processing)

    # Jobs take turns: with each kill another job has a chunk that was never committed, and all go on.
    for point in (f"tasks:SIGKILL:{len(sources) + 9}", f"commit:SIGKILL:{len(sources) + 3}"):
        await asyncio.to_thread(doomed, deployment, file, point)
    half = Counter(task.job_id for task in deployment.tasks())
    assert all(0 < half[kind] < 40 for kind in sources), half
    await asyncio.to_thread(run_planner, deployment.settings, threading.Event(), until_planned=True)

    with_records = [
        account.did
        for account in network.truth()
        if {record.uri.split("/")[3] for record in account.records} & {POST, LIKE}
    ]
    banned = [did for number, did in enumerate(everybody) if network.account(number).host == BANNED]
    assert network.account(MOVED).host != 1
    gone = everybody[GONE]
    listed = [did for did in everybody if did != gone]
    wanted: dict[str, list[str]] = dict.fromkeys(sources, everybody) | {
        "relay": listed,
        "hosts": [did for did in listed if did not in banned],
        "collection": [did for did in with_records if did != gone],
        "job": everybody[:40],
    }
    tasks, outcomes = deployment.tasks(), deployment.outcomes()
    plans = {o.job_id: o for o in outcomes if isinstance(o, PlanOutcome)}
    assert "source_failed" not in [o.event for o in outcomes if isinstance(o, JobEvent)]
    for kind, dids in wanted.items():
        assert Counter(task.did for task in tasks if task.job_id == kind) == Counter(dids), kind
        assert plans[kind].finished
    left_out = {kind: plans[kind].left_out for kind in sources}
    assert left_out["relay"] == {"malformed_row": 4}
    assert left_out["collection"] == {"malformed_row": 8}
    # Host 1 lists three accounts of others, one of them the banned host's, and the old host of the moved one
    # still lists it: whoever comes after the right host's row is a duplicate.
    hosts = plans["hosts"]
    moved = hosts.left_out["moved"]
    assert hosts.left_out == {"malformed_row": 3, "moved": moved, "host_banned": 1}
    assert (moved >= 1, moved + hosts.duplicates) == (True, 4)
    assert not any(left_out[kind] for kind in sources.keys() - {"relay", "collection", "hosts"})
    for kind in ("relay", "hosts"):
        ended = [o for o in outcomes if isinstance(o, RepoOutcome) and o.job_id == kind]
        assert [(o.did, o.status, o.reason) for o in ended] == [(gone, "unavailable", "RepoTakendown")]
    assert list((deployment.settings.data_dir / "plans").iterdir()) == []
