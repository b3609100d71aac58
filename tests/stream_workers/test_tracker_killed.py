"""A tracker that dies in the midst of a commit: its successor counts every outcome once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.outcomes import JobEvent, PlanOutcome, Replaced, RepoOutcome
from tests.stream_workers.deployment import ROOT, Deployment

BATCH = 30
ACCOUNTS = 3 * BATCH
FAILING = 6
"""Every so manyth account fails at first, and is replayed."""


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
        replays = ACCOUNTS // FAILING
        assert (status.replayed, status.replaying, status.totals.failed) == (replays, 0, 0)
        assert (status.status, status.reasons) == ("complete", {})
        assert status.totals.errors == {"network_error": replays}
        assert await tracker.terminate() == 0
    finally:
        await deployment.close()


def begin(deployment: Deployment, point: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.stream_workers.doomed_tracker", point, "2"]
    environment = os.environ | deployment.environment | {"SKYFILL_WORKER_SLOT": "0"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def enter(deployment: Deployment, first: int) -> None:
    """The next accounts end, and those of them that failed are replayed."""

    def tell(outcome: RepoOutcome | JobEvent) -> None:
        deployment.publish(deployment.names.outcomes, "job", outcome.encode())

    numbers = range(first, first + BATCH)
    failing = [number for number in numbers if number % FAILING == 0]
    for number in numbers:
        tell(failed(number) if number in failing else completed(number))
    tell(JobEvent(job_id="job", event="replayed", count=len(failing), at=datetime.now(UTC)))
    for number in failing:
        before = failed(number)
        replaced = Replaced(letter=f"0:{number}", did=before.did, host=before.host, reason=before.reason)
        tell(completed(number).model_copy(update={"replay": 1, "replaces": replaced}))


def completed(number: int) -> RepoOutcome:
    return RepoOutcome(
        job_id="job",
        did=f"did:plc:{number}",
        host="https://pds.test",
        status="completed",
        records={"app.bsky.feed.post": 3},
    )


def failed(number: int) -> RepoOutcome:
    return RepoOutcome(
        job_id="job",
        did=f"did:plc:{number}",
        host="https://pds.test",
        status="failed",
        error_type="network_error",
        reason="HostTimeout",
    )
