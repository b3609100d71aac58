"""What time alone makes of jobs, on a real broker: stale ones are told, old ones slimmed, none forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from messaging.control import HostCountsBoard, hosts_of
from schemas.job_status import Counts, JobHost, JobStatus
from schemas.outcomes import JobEvent, PlanOutcome, Replaced, RepoOutcome
from stream_workers.tracker.tracker import Tracker
from tests.stream_workers.deployment import Deployment

ONE, TWO = "https://one.test", "https://two.test"


def ended(job: str, did: str, host: str, status: str = "completed") -> RepoOutcome:
    failed = {"error_type": "network_error", "reason": "HostTimeout"} if status == "failed" else {}
    return RepoOutcome.model_validate({"job_id": job, "did": did, "host": host, "status": status} | failed)


def event(job: str, name: str, **more: object) -> JobEvent:
    return JobEvent.model_validate({"job_id": job, "event": name, "at": datetime.now(UTC)} | more)


def plan(job: str) -> PlanOutcome:
    return PlanOutcome(job_id=job, planned=2, hosts={ONE: 1, TWO: 1}, finished=True)


@asynccontextmanager
async def tracking(deployment: Deployment, clock: Callable[[], datetime]) -> AsyncIterator[None]:
    """A tracker that looks at its jobs all the time, until the block ends."""
    stop = threading.Event()
    tracker = await asyncio.to_thread(Tracker, deployment.settings, clock=clock, look_seconds=0)
    thread = threading.Thread(target=tracker.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        await asyncio.to_thread(thread.join, 60)


async def test_the_clock_makes_jobs_stale_and_lets_go_of_old_ones(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    deployment = await asyncio.to_thread(Deployment, kafka, prefix, tmp_path, "http://127.0.0.1:1")
    ahead = timedelta()

    def tell(*outcomes: RepoOutcome | PlanOutcome | JobEvent) -> None:
        for outcome in outcomes:
            deployment.publish(deployment.names.outcomes, outcome.job_id, outcome.encode())

    async def stale() -> JobStatus | None:
        status = await deployment.status("slow")
        return status if status is not None and status.stale_since is not None else None

    async def hosts_are(expected: dict[str, JobHost]) -> bool:
        return await deployment.hosts("old") == expected

    async def gone_from(board: HostCountsBoard) -> bool:
        board.refresh()
        return board.of("old") == {}

    def clock() -> datetime:
        return datetime.now(UTC) + ahead

    try:
        async with tracking(deployment, clock):
            failed = ended("old", "a", ONE, "failed")
            tell(event("old", "submitted"), plan("old"), failed, ended("old", "b", TWO))
            tell(event("slow", "submitted"), plan("slow"), ended("slow", "a", ONE))
            before = await deployment.final("old")
            assert (before.status, len(await deployment.hosts("old"))) == ("partial_success", 2)

            ahead = timedelta(hours=1)
            found = await deployment.until(stale, "a stale job")
            assert (found.status, found.stale_since) == ("processing", found.progressed_at)
            tell(ended("slow", "b", TWO))
            slow = await deployment.final("slow")
            assert (slow.status, slow.stale_since) == ("complete", None)
            assert [entry.event for entry in slow.history] == [
                "submitted",
                "planned",
                "stale",
                "going_on",
                "ended",
            ]

            board = await asyncio.to_thread(HostCountsBoard, deployment.settings.kafka)
            for job, count in (("old", 2), ("slow", 2), ("other", 0)):
                pages = await asyncio.to_thread(hosts_of, deployment.settings.kafka, job)
                assert (len(pages), board.of(job)) == (count, pages)
            ahead = timedelta(days=31)
            await deployment.until(lambda: hosts_are({}), "the end of the history")
            await deployment.until(lambda: gone_from(board), "the same on a board that was there before")
            board.close()
            slim = await deployment.status("old")
            assert slim is not None
            kept = {"history", "errors", "updated_at"}
            assert slim.model_dump(exclude=kept) == before.model_dump(exclude=kept)
            assert (slim.history, slim.errors["network_error"].samples) == ([], [])

            ahead = timedelta()  # or the replay, written now, would have ended a month ago, too
            replaced = Replaced(
                letter="0:1", did="a", host=ONE, reason="HostTimeout", error_type="network_error"
            )
            again = ended("old", "a", ONE).model_copy(update={"replay": 1, "replaces": replaced})
            tell(event("old", "replayed", count=1), again)

            async def complete() -> bool:
                status = await deployment.status("old")
                return status is not None and status.status == "complete"

            await deployment.until(complete, "the replay's end")
            status = await deployment.final("old")
            assert (status.totals.completed, status.totals.failed, status.totals.failed_by) == (2, 0, {})
            await deployment.until(
                lambda: hosts_are({ONE: JobHost(job_id="old", host=ONE, counts=Counts(completed=1))}),
                "its host, begun anew",
            )

            tell(event("late", "submitted"), plan("late"), ended("late", "a", ONE))

            async def is_begun() -> bool:
                return await deployment.status("late") is not None

            await deployment.until(is_begun, "its first account")

        # While no tracker runs, the rest comes. The next one is late itself, and calls no job so.
        tell(ended("late", "b", TWO))
        ahead = timedelta(hours=1)
        async with tracking(deployment, clock):
            late = await deployment.final("late")
            assert [entry.event for entry in late.history] == ["submitted", "planned", "ended"]
            assert (late.totals.completed, len(await deployment.hosts("late"))) == (2, 2)
    finally:
        await deployment.close()
