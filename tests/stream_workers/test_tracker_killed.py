"""A tracker that dies or stops in the midst of its work: its successor counts every outcome once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from schemas.job_status import Counts
from schemas.outcomes import JobEvent, PlanOutcome, Replaced, RepoOutcome
from tests.stream_workers.deployment import ROOT, Deployment

BATCH = 30
ACCOUNTS = 3 * BATCH
FAILING = 6
"""Every so manyth account fails at first, and is replayed."""
HOSTS = [f"https://{number}.pds.test" for number in range(4)]


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
        plan(deployment, range(ACCOUNTS), finished=True)
        status = await deployment.final("job")
        assert (status.totals.completed, status.totals.terminal) == (ACCOUNTS, ACCOUNTS)
        assert status.totals.records == 3 * ACCOUNTS
        replays = ACCOUNTS // FAILING
        assert (status.replayed, status.replaying, status.totals.failed) == (replays, 0, 0)
        assert (status.status, status.reasons) == ("complete", {})
        assert status.totals.errors == {"network_error": replays}
        assert status.totals.failed_by == {}
        assert status.errors["network_error"].permanent == replays
        await check_hosts(deployment, ACCOUNTS)
        assert await tracker.terminate() == 0
    finally:
        await deployment.close()


async def test_what_a_stopped_one_says_of_a_stale_job_counts_no_more(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    """It wakes with nothing counted: another has the place, and the job has ended."""
    deployment = await asyncio.to_thread(Deployment, kafka, prefix, tmp_path, "http://127.0.0.1:1")
    try:
        submitted = JobEvent(job_id="job", event="submitted", at=datetime.now(UTC))
        deployment.publish(deployment.names.outcomes, "job", submitted.encode())
        plan(deployment, range(BATCH + 7), finished=False)
        enter(deployment, 0)
        stopped = begin(deployment, "stale", SKYFILL_TRACKER__STALE_SECONDS="1")

        async def is_stopped() -> bool:
            return psutil.Process(stopped.pid).status() == psutil.STATUS_STOPPED

        await deployment.until(is_stopped, "a stale job")
        status = await deployment.status("job")
        assert status is not None
        assert (status.totals.completed, status.stale_since) == (BATCH, None)
        successor = deployment.start("tracker", slot=1)
        enter(deployment, BATCH)
        plan(deployment, range(BATCH + 7, 2 * BATCH), finished=True)
        final = await deployment.final("job")
        stopped.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(stopped.wait, 60) > 0, "it ends itself, and is not killed"
        await deployment.quiet()
        assert await deployment.status("job") == final
        assert (final.status, final.stale_since, final.totals.completed) == ("complete", None, 2 * BATCH)
        assert "stale" not in [entry.event for entry in final.history]
        await check_hosts(deployment, 2 * BATCH)
        assert await successor.terminate() == 0
    finally:
        stopped.kill()
        await asyncio.to_thread(stopped.wait)
        await deployment.close()


async def check_hosts(deployment: Deployment, accounts: int) -> None:
    """Every figure of every host, each account being counted at its own."""
    pages = await deployment.hosts("job")
    assert pages.keys() == set(HOSTS)
    for place, host in enumerate(HOSTS):
        own = range(place, accounts, len(HOSTS))
        replays = sum(number % FAILING == 0 for number in own)
        errors = {"network_error": replays} if replays else {}
        types = {"app.bsky.feed.post": 3 * len(own)}
        assert pages[host].counts == Counts(
            completed=len(own), records=3 * len(own), by_type=types, errors=errors
        )
        assert pages[host].planned == len(own)


def plan(deployment: Deployment, accounts: range, *, finished: bool) -> None:
    """A chunk of so many accounts."""
    hosts = Counter(HOSTS[number % len(HOSTS)] for number in accounts)
    outcome = PlanOutcome(job_id="job", planned=accounts.stop, hosts=dict(hosts), finished=finished)
    deployment.publish(deployment.names.outcomes, "job", outcome.encode())


def begin(deployment: Deployment, point: str, **more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.stream_workers.doomed_tracker", point, "2"]
    environment = os.environ | deployment.environment | {"SKYFILL_WORKER_SLOT": "0"} | more
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
        replaced = Replaced(
            letter=f"0:{number}",
            did=before.did,
            host=before.host,
            reason=before.reason,
            error_type=before.error_type,
        )
        tell(completed(number).model_copy(update={"replay": 1, "replaces": replaced}))


def completed(number: int) -> RepoOutcome:
    return RepoOutcome(
        job_id="job",
        did=f"did:plc:{number}",
        host=HOSTS[number % len(HOSTS)],
        status="completed",
        records={"app.bsky.feed.post": 3},
    )


def failed(number: int) -> RepoOutcome:
    return RepoOutcome(
        job_id="job",
        did=f"did:plc:{number}",
        host=HOSTS[number % len(HOSTS)],
        status="failed",
        error_type="network_error",
        reason="HostTimeout",
    )
