"""A tracker that dies in the midst of a commit: its successor counts every outcome once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.outcomes import PlanOutcome, RepoOutcome
from tests.stream_workers.deployment import ROOT, Deployment

BATCH = 30
ACCOUNTS = 3 * BATCH


@pytest.mark.parametrize("point", ["messages", "offsets", "after"])
async def test_its_successor_counts_every_outcome_once(
    kafka: str, prefix: str, tmp_path: Path, point: str
) -> None:
    deployment = await asyncio.to_thread(Deployment, kafka, prefix, tmp_path, "http://127.0.0.1:1")
    try:
        doomed = begin(deployment, point)
        enter(deployment, 0)

        async def counted() -> bool:
            return await deployment.status("job") is not None

        await deployment.until(counted, "the first commit")
        enter(deployment, BATCH)
        code = await asyncio.to_thread(doomed.wait, 60)
        assert code == -signal.SIGKILL
        enter(deployment, 2 * BATCH)
        tracker = deployment.start("tracker")
        end = PlanOutcome(job_id="job", planned=ACCOUNTS, finished=True)
        deployment.publish(deployment.names.outcomes, "job", end.encode())
        status = await deployment.final("job")
        assert (status.totals.completed, status.totals.terminal) == (ACCOUNTS, ACCOUNTS)
        assert status.totals.records == 3 * ACCOUNTS
        assert await tracker.terminate() == 0
    finally:
        await deployment.close()


def begin(deployment: Deployment, point: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.stream_workers.doomed_tracker", point, "2"]
    environment = os.environ | deployment.environment | {"SKYFILL_WORKER_SLOT": "0"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def enter(deployment: Deployment, first: int) -> None:
    """The next accounts end."""
    for number in range(first, first + BATCH):
        outcome = RepoOutcome(
            job_id="job",
            did=f"did:plc:{number}",
            host="https://pds.test",
            status="completed",
            records={"app.bsky.feed.post": 3},
        )
        deployment.publish(deployment.names.outcomes, "job", outcome.encode())
