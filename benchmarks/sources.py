"""Each bulk source through the planner: from a job's command to the end of its plan, accounts known at once.

One planner plans one job after the other; the memory of each is measured from its own beginning.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.bulk import COLLECTION, dids
from benchmarks.figures import Figures
from benchmarks.measure import Meter, reset_peak
from benchmarks.stage import ROOT, Scene, Stage, running
from benchmarks.tally import count_messages, require_equal
from cli.console import err
from local.process import ChildProcess
from local.seaweedfs import EmbeddedS3
from messaging.control import send_command
from messaging.views import CompactedView
from schemas.job_specs import JobSpec
from schemas.job_status import Counts, JobStatus
from schemas.jobs import JobMessage
from schemas.outcomes import RepoOutcome
from schemas.plans import PlanCheckpoint
from schemas.settings import NetworkSettings, Partitions, PlannerSettings, S3Settings

_ACCOUNTS_A_REPOSITORY = 1000
_OBJECTS = 4
_PATIENCE = 1200.0
_PUBLISHED_AT_ONCE = 50_000
Document = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """Where the accounts of all sources lie."""

    scene: Scene
    accounts: list[str]
    s3_url: str


def measure(stage: Stage) -> tuple[Figures, dict[str, Any]]:
    """Figures an account, over all sources and of each. Raises LocalServerError if any account is missing."""
    accounts = list(dids(stage.repositories.count * _ACCOUNTS_A_REPOSITORY))
    with _lists(stage, len(accounts)) as origins, _objects(stage) as s3_url:
        scene = stage.scene(
            "sources",
            network=NetworkSettings(relay_url=origins[0], allow_private_hosts=True),
            s3=S3Settings(endpoint_url=s3_url),
            # Nobody fetches here: all tasks of a job have to fit into its window.
            partitions=Partitions(dids=64),
            planner=PlannerSettings(tasks_per_partition=20_000),
        )
        field = Field(scene, accounts, s3_url)
        sources = {kind: prepare(field) for kind, prepare in SOURCES.items()}
        with _planner(scene, origins[1:]) as planner:
            scene.await_rest(planner, scene.names.planner_group, scene.names.jobs)
            whole = Meter({"planner": planner.pid, "broker": stage.broker.pid})
            found = {}
            for kind, source in sources.items():
                found[kind] = _planned(stage, field, planner, kind, source)
            reading = whole.read()
    total = len(accounts) * len(SOURCES)
    require_equal("tasks published", count_messages(scene, scene.names.dids)[0], total)
    return Figures("account", total, reading, ("planner",)), {
        kind: figures.as_json() for kind, figures in found.items()
    }


def _planned(stage: Stage, field: Field, planner: ChildProcess, kind: str, source: Document) -> Figures:
    """One source's job, from its command to the end of its plan."""
    scene = field.scene
    document = {
        "source": source,
        "processing": {"requests_per_second": 10_000},
        "storage": {"type": "parquet", "path": "unused"},
    }
    plans = CompactedView(scene.kafka, scene.names.plans, PlanCheckpoint.decode)
    reset_peak(planner.pid or 0)
    meter = Meter({"planner": planner.pid, "broker": stage.broker.pid})
    send_command(scene.kafka, kind, JobMessage(action="start", backfill=document))

    def finished() -> bool:
        plans.poll()
        return kind in plans.items and plans.items[kind].finished

    scene.until(finished, f"the end of the plan over {kind}", [planner], seconds=_PATIENCE)
    figures = Figures("account", len(field.accounts), meter.read(), ("planner",))
    require_equal(f"accounts planned from {kind}", plans.items[kind].planned, len(field.accounts))
    plans.close()
    err.print(
        f"sources.{kind}: {figures.count:,} accounts, {figures.per_second:,.0f} a second, "
        f"{figures.cpu_us:.1f} us of CPU each, peak {figures.peak_rss_mb:.0f} MB"
    )
    return figures


@contextmanager
def _lists(stage: Stage, count: int) -> Iterator[list[str]]:
    """A relay and hosts; their origins."""
    ready = stage.folder / "listing.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.listing", str(ready), str(count)]

    async def served() -> bool:
        return ready.exists()

    with running(ChildProcess("listing", command, stage.folder / "listing.log", cwd=ROOT)) as process:
        asyncio.run(process.wait_until(served, patience=120))
        yield orjson.loads(ready.read_bytes())


@contextmanager
def _objects(stage: Stage) -> Iterator[str]:
    """An S3 server; its endpoint."""
    server = EmbeddedS3(stage.folder / "s3")
    try:
        yield asyncio.run(server.start())
    finally:
        asyncio.run(server.stop())


@contextmanager
def _planner(scene: Scene, origins: list[str]) -> Iterator[ChildProcess]:
    scene.settings.data_dir.mkdir(parents=True, exist_ok=True)
    file = scene.settings.data_dir / "settings.json"
    file.write_text(scene.settings.model_dump_json())
    command = [sys.executable, "-m", "benchmarks.bulk_planner", str(file), *origins]
    log = scene.settings.data_dir / "logs" / "planner.log"
    env = dict(os.environ) | {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    with running(ChildProcess("planner", command, log, env=env, cwd=ROOT)) as process:
        yield process


def _text(field: Field) -> Document:
    field.scene.write_source(field.accounts)
    return {"type": "file", "path": str(field.scene.settings.data_dir / "dids.txt")}


def _parquet(field: Field) -> Document:
    path = field.scene.settings.data_dir / "dids.parquet"
    pq.write_table(pa.table({"did": field.accounts}), path)
    return {"type": "file", "path": str(path)}


def _sqlite(field: Field) -> Document:
    path = field.scene.settings.data_dir / "dids.db"
    with sqlite3.connect(path) as table:
        table.execute("CREATE TABLE dids (did TEXT)")
        table.executemany("INSERT INTO dids VALUES (?)", ((did,) for did in field.accounts))
    table.close()
    return {"type": "sqlite", "path": str(path)}


def _s3(field: Field) -> Document:
    client = boto3.client(
        "s3",
        endpoint_url=field.s3_url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    client.create_bucket(Bucket="accounts")
    share = -(-len(field.accounts) // _OBJECTS)
    for number in range(_OBJECTS):
        rows = field.accounts[number * share : (number + 1) * share]
        body = "did\n" + "".join(f"{did}\n" for did in rows)
        client.put_object(Bucket="accounts", Key=f"list/{number}.csv", Body=body.encode())
    client.close()
    return {"type": "s3", "path": "s3://accounts/list/", "region": "us-east-1"}


def _job(field: Field) -> Document:
    """An earlier job whose accounts all failed."""
    scene, now = field.scene, datetime.now(UTC)
    spec = JobSpec.model_validate(
        {
            "job_id": "earlier",
            "backfill": {
                "source": {"type": "inline", "dids": ["x"]},
                "storage": {"type": "parquet", "path": "x"},
            },
            "submitted_at": now - timedelta(hours=1),
        }
    )
    status = JobStatus(
        job_id="earlier",
        status="partial_success",
        totals=Counts(failed=len(field.accounts)),
        updated_at=now,
    )
    names = scene.names
    for begin in range(0, len(field.accounts), _PUBLISHED_AT_ONCE):
        part = field.accounts[begin : begin + _PUBLISHED_AT_ONCE]
        outcomes = [RepoOutcome(job_id="earlier", did=did, status="failed") for did in part]
        scene.publish(names.outcomes, [("earlier", outcome) for outcome in outcomes])
    scene.publish(names.plans, [("earlier", PlanCheckpoint(job_id="earlier", finished=True))])
    scene.publish(names.job_status, [("earlier", status)])
    scene.publish(names.job_specs, [("earlier", spec)])
    return {"type": "job", "job_id": "earlier"}


SOURCES: Mapping[str, Callable[[Field], Document]] = {
    "text": _text,
    "parquet": _parquet,
    "sqlite": _sqlite,
    "s3": _s3,
    "relay": lambda field: {"type": "relay"},
    "hosts": lambda field: {"type": "hosts"},
    "collection": lambda field: {"type": "collection", "collections": [COLLECTION]},
    "job": _job,
}
"""Each prepares its accounts and says how a document names them."""
