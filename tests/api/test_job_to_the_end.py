"""A job from POST to its end, with every process at work: what a person is told is what became of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from local.compare import compare, parquet_records, records_of
from local.network.faults import ServerError, Unavailable
from local.network.network import Network
from schemas.settings import ApiSettings
from tests.api.server import PLENTY, ApiServer
from tests.integration.rig import running, settings_for

ACCOUNTS = 8
BROKEN = ServerError(account=0)


@pytest.mark.timeout(180)
async def test_a_job_is_planned_started_followed_and_retried(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Network(
        seed=8, accounts=ACCOUNTS, hosts=2, records=15, faults=[BROKEN, Unavailable(account=1)]
    ) as network:
        rig_settings = settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data")
        api = ApiSettings(port=0, folders=[tmp_path], requests_per_minute=PLENTY)
        settings = rig_settings.model_copy(update={"api": api})
        document = {
            "backfill": {
                "name": "by-api",
                "source": {"type": "inline", "dids": list(network.dids)},
                "processing": {"max_retries": 0, "requests_per_second": 1000},
                "storage": {"type": "parquet", "path": "out"},
            }
        }
        async with running(settings, workers=1, sinks=["parquet"], monkeypatch=monkeypatch) as rig:
            server = await asyncio.to_thread(ApiServer, settings, plan_seconds=10)
            headers = {"Authorization": f"Bearer {server.tokens['operator']}"}
            try:
                async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client:
                    await _tell(client, document, network)
                    assert (await client.get("/readyz")).status_code == 200
            finally:
                await asyncio.to_thread(server.close)
            await rig.drained(["parquet"])
        truth = [one for one in network.truth() if one.did != network.dids[1]]
        assert compare("Parquet", records_of(truth), parquet_records(tmp_path / "out")).exact


async def _tell(client: httpx.AsyncClient, document: dict[str, Any], network: Network) -> None:
    estimate = (await client.post("/api/backfill/plan", json=document)).json()
    assert (estimate["accounts"], estimate["hosts_found"]) == (ACCOUNTS, 2), estimate

    yaml_type = {"Content-Type": "application/yaml", "Idempotency-Key": "once"}
    start = await client.post("/api/backfill/start", content=yaml.safe_dump(document), headers=yaml_type)
    assert start.status_code == 202, start.text
    job_id, status_url = start.json()["job_id"], start.headers["location"]
    seen = await _followed(client, job_id)
    assert [kind for kind, _ in seen][-1] == "end"
    assert next(said["event"] for kind, said in seen if kind == "entry") == "submitted"
    statuses = [said for kind, said in seen if kind == "status"]
    assert statuses[0]["status"] in ("queued", "processing")
    assert statuses[-1]["status"] == "partial_success"
    job = (await client.get(status_url)).json()
    assert job["progress"] | {"unavailable_by": None} == statuses[-1]["progress"] | {"unavailable_by": None}
    progress = {name: job["progress"][name] for name in ("total", "completed", "unavailable", "failed")}
    assert progress == {"total": 8, "completed": 6, "unavailable": 1, "failed": 1}
    assert job["progress"]["percent"] == 100
    assert job["hosts_total"] == 2
    assert sum(host["done"] for host in job["hosts"]) == ACCOUNTS
    assert [error["type"] for error in job["errors"]]

    letters = (await client.get(f"/api/backfill/jobs/{job_id}/deadletters")).json()["letters"]
    assert [letter["did"] for letter in letters] == [network.dids[0]]
    await network.withdraw(BROKEN)
    retried = await client.post(f"/api/backfill/jobs/{job_id}/retry")
    assert (retried.status_code, retried.json()["letters"]) == (202, 1)
    while (await client.get(status_url)).json()["status"] != "complete":  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    report = (await client.get(f"/api/backfill/jobs/{job_id}/report")).json()
    assert (report["complete"], report["completed"], report["failed"]) == (True, 7, 0)
    again = await client.post("/api/backfill/start", content=yaml.safe_dump(document), headers=yaml_type)
    assert again.json() == start.json()


async def _followed(client: httpx.AsyncClient, job_id: str) -> list[tuple[str, Any]]:
    """The job's events until it has ended."""
    seen: list[tuple[str, Any]] = []
    kind = ""
    async with client.stream("GET", f"/api/backfill/jobs/{job_id}/events") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                seen.append((kind, json.loads(line.removeprefix("data: "))))
    return seen
