"""The accounts of another job, out of a real `outcomes`: under the contract, and by the last word on each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from messaging import clients
from messaging.names import Names
from messaging.topics import create_topics
from producers.sources import AccountSource
from schemas.job_status import Counts, JobStatus
from schemas.outcomes import JobEvent, RepoOutcome
from schemas.settings import KafkaSettings, Partitions
from tests.producers.deployment import did
from tests.producers.sources.contract import MANY, SourceContract, Stand
from tests.producers.sources.stand import (
    Jobs,
    accounts,
    left_out,
    reach_of,
    read,
    read_some,
    refusal,
    source_of,
    spec_of,
)

JOB = "before"


class JobStand(Stand):
    """A job that has ended, with as many failed accounts as are wanted, and others."""

    malformed = None
    page = 8  # each reading asks the broker anew

    def __init__(self, folder: Path, kafka: KafkaSettings) -> None:
        self._folder, self._kafka = folder, kafka
        self._names = Names(kafka.topic_prefix)
        self._producer = clients.producer(kafka)
        self.jobs = Jobs()
        self.ended = 0
        self.section: dict[str, Any] = {"type": "job", "job_id": JOB}

    def say(self, outcome: RepoOutcome | JobEvent | bytes, key: str = JOB) -> None:
        value = outcome if isinstance(outcome, bytes) else outcome.encode()
        self._producer.produce(self._names.outcomes, value, key.encode(), 0)

    def became(self, name: str, status: Any, error_type: Any = None, job_id: str = JOB) -> None:
        self.say(RepoOutcome(job_id=job_id, did=name, status=status, error_type=error_type), job_id)

    def end(self, terminal: int, status: Any = "partial_success") -> None:
        """What planner and tracker know of the job then."""
        assert self._producer.flush(30) == 0
        self.jobs.specs[JOB] = spec_of({"type": "inline", "dids": ["x"]}, job_id=JOB).model_copy(
            update={"submitted_at": datetime(2020, 1, 1, tzinfo=UTC)}
        )
        totals = Counts(failed=terminal)
        self.jobs.statuses[JOB] = JobStatus(
            job_id=JOB, status=status, totals=totals, updated_at=datetime.now(UTC)
        )

    async def put(self, names: Sequence[str], malformed: int = 0) -> None:
        self.became(did(900), "completed")
        for number in range(malformed):
            self.say(b"no outcome")
            self.say(RepoOutcome(job_id="other", did=did(901), status="failed"))
            self.became(did(910 + number), "retrying")
        for name in names:
            self.became(name, "failed", "network_error")
        self.became(did(902), "unavailable", "data_unavailable")
        await asyncio.to_thread(self.end, len(names) + 2)

    async def take_away(self) -> None:
        self.jobs.specs.clear()

    async def spoil(self) -> None:
        await asyncio.to_thread(self.end, 0)
        self.section = {"type": "job", "job_id": JOB, "outcome": "cancelled"}

    def source(self) -> AccountSource:
        reach = reach_of(self._folder, jobs=self.jobs, kafka=self._kafka)
        return source_of(self.section, reach, page=self.page)


@pytest.fixture
def stand(kafka: str, prefix: str, tmp_path: Path) -> JobStand:
    settings = KafkaSettings(
        bootstrap_servers=kafka,
        topic_prefix=prefix,
        partitions=Partitions(dids=1, records=1, outcomes=1, deadletter=1, repos=1),
    )
    admin: AdminClient = clients.admin(settings)
    create_topics(admin, settings)
    return JobStand(tmp_path, settings)


class TestJob(SourceContract):
    pass


async def test_the_last_outcome_of_each_account_counts(stand: JobStand) -> None:
    """Replays replace what was said before, in either direction."""
    stand.became(did(1), "failed", "network_error")
    stand.became(did(2), "failed", "verification_failed")
    stand.became(did(3), "completed")
    stand.became(did(4), "unavailable", "data_unavailable")
    stand.became(did(5), "cancelled")
    stand.became("not an account", "failed", "validation_failed")
    stand.became(did(1), "completed")
    stand.became(did(3), "failed", "timeout_error")
    stand.became(did(2), "retrying", "network_error")
    stand.end(6)
    for keys, wanted in (
        ({}, [did(2), did(3), "not an account"]),
        ({"outcome": ["unavailable", "cancelled"]}, [did(4), did(5)]),
        ({"outcome": "completed"}, [did(1)]),
        ({"error_type": "timeout_error"}, [did(3)]),
        ({"error_type": ["timeout_error", "validation_failed"]}, [did(3), "not an account"]),
    ):
        stand.section = {"type": "job", "job_id": JOB, **keys}
        pages = await read(stand.source().pages())
        assert (accounts(pages), left_out(pages)) == (wanted, {})


async def test_what_is_said_after_the_first_reading_changes_nothing(stand: JobStand) -> None:
    await stand.put(MANY)
    pages = await read_some(stand.source(), 1)
    for name in MANY[:10]:
        stand.became(name, "completed")
    stand.became(did(99), "failed", "network_error")
    stand.end(23)
    rest = await read(stand.source().pages(pages[-1].cursor))
    assert accounts(pages + rest) == MANY


async def test_outcomes_that_are_no_longer_kept_are_counted(stand: JobStand) -> None:
    await stand.put(MANY)
    stand.end(30)
    pages = await read(stand.source().pages())
    assert left_out(pages) == {"outcome_not_kept": 30 - len(MANY) - 2}
    assert left_out(await read(stand.source().pages(pages[0].cursor))) == {}


async def test_a_job_that_goes_on_is_waited_for_only_a_moment(
    stand: JobStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.sources.job._PATIENCE", 0.3)
    await stand.put(MANY)
    ended = stand.jobs.statuses.pop(JOB)
    assert "has not ended (queued)" in await refusal(stand.source())
    stand.jobs.statuses[JOB] = ended.model_copy(update={"status": "paused"})
    assert "has not ended (paused)" in await refusal(stand.source())

    async def end() -> None:
        await asyncio.sleep(0.1)
        stand.jobs.statuses[JOB] = ended

    _, pages = await asyncio.gather(end(), read(stand.source().pages()))
    assert accounts(pages) == MANY


async def test_nothing_is_left_on_the_disk(stand: JobStand, tmp_path: Path) -> None:
    await stand.put(MANY)
    await read_some(stand.source(), 1)
    assert os.listdir(tmp_path / "tmp") == []


async def test_a_reading_that_nobody_waits_for_ends_soon(
    stand: JobStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stand.put(MANY)
    source = stand.source()
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(*_: object) -> Iterator[RepoOutcome]:
        loop.call_soon_threadsafe(begun.set)
        while True:
            yield RepoOutcome(job_id=JOB, did=did(1), status="failed")

    monkeypatch.setattr("producers.sources.job.terminal_outcomes", endless)
    reading = asyncio.ensure_future(anext(source.pages()))
    await begun.wait()
    reading.cancel()
    async with asyncio.timeout(20):
        await asyncio.gather(reading, return_exceptions=True)
    assert reading.cancelled()
