"""The notifier on a real broker, with receivers that fail, hang, or hear it twice."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from atp.http import Http
from messaging.groups import groups_at_work
from schemas.job_status import JobStatus
from schemas.webhooks import Delivery
from stream_workers.notifier.book import NoticeBook
from stream_workers.notifier.metrics import NotifierMetrics
from stream_workers.notifier.notifier import Notifier, utc_now
from stream_workers.notifier.post import Post
from stream_workers.notifier.share import Share
from tests.stream_workers.deployment import ROOT, Deployment
from tests.stream_workers.notice import SECRET, Receiver, receiving, status_of, until


class Clock:
    """Runs ahead of the time when it is told to, so that nobody waits for a pause's end."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTICE_SECRET", SECRET)


@pytest.fixture
async def deployment(kafka: str, prefix: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    made = await asyncio.to_thread(Deployment, kafka, prefix, tmp_path, "http://127.0.0.1:9")
    yield made
    await made.close()


class Deliveries:
    """What is in the topic."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def latest(self) -> dict[str, Delivery]:
        """By id; tombstoned ones are gone."""
        found: dict[str, Delivery] = {}
        for message in await self._deployment.read(self._deployment.names.webhooks):
            if message.value is None:
                found.pop(message.key, None)
            else:
                found[message.key] = Delivery.decode(message.value)
        return found

    async def of(self, job_id: str, url: str) -> Delivery:
        (one,) = [d for d in (await self.latest()).values() if d.job_id == job_id and d.url.endswith(url)]
        return one


@asynccontextmanager
async def notifying(deployment: Deployment, clock: Clock | None = None) -> AsyncIterator[NoticeBook]:
    """A notifier at work in this process."""
    now, stop = clock or Clock(), threading.Event()
    async with Http(user_agent="tests", allow_private_hosts=True) as http:
        book = await asyncio.to_thread(NoticeBook, deployment.settings, now=now)
        notifier = Notifier(
            book, Post(http, now=utc_now, seconds=1.0), NotifierMetrics(), now=now, chance=lambda: 0.5
        )
        running = asyncio.create_task(notifier.run(stop))
        try:
            yield book
        finally:
            stop.set()
            await running


def tell(deployment: Deployment, status: JobStatus, *hooks: dict[str, Any], **monitoring: Any) -> None:
    """A job as planner and tracker publish it."""
    deployment.set_job(status.job_id, monitoring={"webhooks": list(hooks), **monitoring})
    again(deployment, status)


def again(deployment: Deployment, status: JobStatus) -> None:
    deployment.publish(deployment.names.job_status, status.job_id, status.encode())


async def test_everybody_is_told_once_however_some_receivers_behave(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    deliveries, clock = Deliveries(deployment), Clock()
    async with receiving() as receiver:
        receiver.answers["/fails"] = [500, 503]
        partial, stale = status_of("partial", "partial_success"), status_of("stale", "processing")
        stale = stale.model_copy(update={"stale_since": datetime.now(UTC)})
        tell(deployment, status_of("hung", "error"), receiver.hook("/hangs"))
        tell(deployment, status_of("hung2", "error"), receiver.hook("/hangs"))
        tell(deployment, partial, receiver.hook("/fails"))
        tell(deployment, stale, receiver.hook("/stale"), alert_on_failure=False)
        tell(deployment, status_of("gone", "complete"), receiver.hook("/gone", events=["complete"]))
        tell(deployment, status_of("unwanted", "complete"), receiver.hook("/none", events=["error"]))
        old = datetime.now(UTC) - timedelta(days=2)
        tell(deployment, status_of("old", "error", finished_at=old), receiver.hook("/old"))
        tell(deployment, status_of("going", "processing"), receiver.hook("/going"))
        receiver.answers["/gone"] = [410]
        again(deployment, status_of("refused", "error"))  # no document: it never was a job

        async with notifying(deployment, clock) as book:
            await until(lambda: receiver.of("/stale") and receiver.of("/gone"), "those that listen")
            await until(lambda: receiver.of("/fails"), "the first failure")
            for _ in range(2):
                clock.ahead += timedelta(minutes=5)
                before = len(receiver.of("/fails"))
                await until(lambda before=before: len(receiver.of("/fails")) > before, "another attempt")
            await until(lambda: {d.job_id for d in book.pending.values()} == {"hung", "hung2"}, "the rest")

            # The job is replayed and ends anew: that is another notice.
            again(deployment, partial.model_copy(update={"status": "processing", "finished_at": None}))
            again(deployment, partial.model_copy(update={"status": "complete", "finished_at": clock()}))
            await until(lambda: len(receiver.of("/fails")) == 4, "the second end")
            # This one goes on and stands still again.
            again(deployment, stale.model_copy(update={"stale_since": None}))
            again(deployment, stale.model_copy(update={"stale_since": clock()}))
            await until(lambda: len(receiver.of("/stale")) == 2, "the second standstill")
            await until(lambda: len(book.pending) == 2, "all that ends")

        fails = receiver.of("/fails")
        assert [told.body["type"] for told in fails] == ["job.partial_success"] * 3 + ["job.complete"]
        assert fails[0].id == fails[1].id == fails[2].id != fails[3].id
        assert fails[0].body == fails[1].body == fails[2].body
        assert len({told.id for told in receiver.of("/stale")}) == 2
        assert {told.path for told in receiver.told} == {"/hangs", "/fails", "/stale", "/gone"}
        assert len(receiver.of("/gone")) == 1
        gone = await deliveries.of("gone", "/gone")
        assert (gone.delivered_at, gone.next_at) == (None, None)
        assert "410" in (gone.detail or "")
        hung = await deliveries.of("hung", "/hangs")
        assert hung.detail == "it did not answer in time"
        assert hung.next_at is not None

        # Another process goes on where this one stopped, and tells nobody again.
        before, asked = receiver.ids(), len(receiver.of("/hangs"))
        receiver.ended.set()
        clock.ahead += timedelta(hours=5)
        async with notifying(deployment, clock) as book:
            await until(lambda: len(receiver.of("/hangs")) == asked + 2 and not book.pending, "the hung ones")
        assert (await deliveries.of("hung", "/hangs")).attempts == hung.attempts + 1
        assert set(receiver.ids()) == set(before)

        # A month later nothing of it is kept, and nobody is told for that.
        clock.ahead += timedelta(days=31)
        async with notifying(deployment, clock) as book:
            await deployment.until(lambda: none_left(deliveries), "the end of old deliveries")
            await asyncio.sleep(0.5)
            assert not book.pending

    alerts = [r.getMessage() for r in caplog.records if r.getMessage().startswith("ALERT ")]
    assert sorted(text.split()[2].rstrip(":") for text in alerts) == ["hung", "hung2", "partial"]
    assert all(
        record.levelno == logging.ERROR for record in caplog.records if "ALERT " in record.getMessage()
    )
    written = b"".join(m.value or b"" for m in await deployment.read(deployment.names.webhooks)).decode()
    said = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith("aiohttp."))
    for secret in (SECRET, "canary-query"):
        assert secret not in written
        assert secret not in said


async def none_left(deliveries: Deliveries) -> bool:
    return not await deliveries.latest()


def doom(deployment: Deployment) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.stream_workers.doomed_notifier"]
    env = os.environ | deployment.environment
    return subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)


async def test_killed_between_sending_and_writing_it_tells_twice_under_one_id(deployment: Deployment) -> None:
    async with receiving() as receiver:
        tell(deployment, status_of("one", "error"), receiver.hook("/once"))
        doomed = await asyncio.to_thread(doom, deployment)
        assert await asyncio.to_thread(doomed.wait, 60) == -signal.SIGKILL
        assert len(receiver.told) == 1
        async with notifying(deployment) as book:
            await until(lambda: len(receiver.told) == 2, "the second notice")
            await until(lambda: not book.pending, "its end")
        async with notifying(deployment) as book:
            tell(deployment, status_of("two", "error"), receiver.hook("/two"))
            await until(lambda: receiver.of("/two") and not book.pending, "another job")
    assert list(receiver.ids().values()) == [2, 1]


async def test_two_share_the_jobs_and_one_takes_over_from_the_other(deployment: Deployment) -> None:
    async with receiving() as receiver, notifying(deployment) as first:
        async with notifying(deployment) as second:
            await until(lambda: first._mine and second._mine, "both to have a share")
            await until(lambda: not first._mine & second._mine, "shares of their own")
            for number in range(12):
                tell(deployment, status_of(f"job-{number}", "error"), receiver.hook(f"/{number % 3}"))
            await until(lambda: len(receiver.ids()) == 12, "all jobs")
            await until(lambda: not first.pending and not second.pending, "nothing to be left")
        await until(lambda: len(first._mine) == 2, "the first to have all")
        tell(deployment, *late(receiver))
        await until(lambda: receiver.of("/late"), "what comes later")
    assert set(receiver.ids().values()) == {1}


def late(receiver: Receiver) -> tuple[JobStatus, dict[str, Any]]:
    return status_of("late", "error"), receiver.hook("/late")


def test_the_planner_leaves_alerts_to_a_notifier_that_is_there(deployment: Deployment) -> None:
    """By the group's members: its own line would be a second one."""
    group = deployment.names.notifier_group
    assert group not in deployment.names.groups()
    assert groups_at_work(deployment.admin, [group]) == []
    share = Share(deployment.settings.kafka, group, deployment.names.job_status)
    while not share.partitions:
        share.poll(0.1)
    assert groups_at_work(deployment.admin, [group]) == [group]
    share.close()
    assert groups_at_work(deployment.admin, [group]) == []
