"""The rates process against a real broker: right figures from whatever lies in `outcomes`, also after a kill.

Judged by the window of an hour: a slow machine may take longer than a minute for a test.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from confluent_kafka import Producer

from messaging.partitioner import partition_for
from messaging.rates_board import RatesBoard
from schemas.errors import ErrorType
from schemas.outcomes import OutcomeStatus, PlanOutcome, RepoOutcome
from schemas.rates import JobRates
from tests.messaging.broker import transactional
from tests.stream_workers.deployment import Deployment, Process

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/rates/")
POST = "app.bsky.feed.post"


@asynccontextmanager
async def deployed(kafka: str, prefix: str, folder: Path) -> AsyncIterator[Deployment]:
    """Topics, and any free port for the web views."""
    nowhere = "http://127.0.0.1:1"
    deployment = await asyncio.to_thread(Deployment, kafka, prefix, folder, nowhere, RATES__PORT="0")
    try:
        yield deployment
    finally:
        await deployment.close()


def enter(
    deployment: Deployment,
    number: int,
    job: str = "job",
    *,
    status: OutcomeStatus = "completed",
    error: ErrorType | None = None,
) -> None:
    """So many accounts end, every second one on each of two hosts."""
    done = status == "completed"
    for at in range(number):
        outcome = RepoOutcome(
            job_id=job,
            did=f"did:plc:{at}",
            host=f"https://{at % 2}.test",
            status=status,
            error_type=error,
            records={POST: 3} if done else {},
            bytes=1000 if done else 0,
            seconds=2.0,
        )
        deployment.publish(deployment.names.outcomes, job, outcome.encode())


async def published(deployment: Deployment, repositories: int, job: str = "job") -> JobRates:
    """The job's rates as soon as the last hour has so many repositories."""

    async def told() -> JobRates | None:
        messages = await deployment.read(deployment.names.rates)
        values = [message.value or b"" for message in messages if message.key == job]
        rates = JobRates.decode(values[-1]) if values else None
        return rates if rates is not None and rates.windows[2].repositories == repositories else None

    return await deployment.until(told, f"{repositories} repositories in the rates of {job}")


async def address(deployment: Deployment, process: Process) -> str:
    """Where the web views are."""

    async def said() -> str | None:
        found = ADDRESS.search(process.log.read_text())
        return found and found[0]

    return await deployment.until(said, "the web views' address")


async def fetched(url: str) -> tuple[int, object]:
    """Status and JSON of a page."""

    def fetch() -> tuple[int, object]:
        try:
            with urlopen(url, timeout=30) as answer:
                return answer.status, json.load(answer)
        except HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)

    return await asyncio.to_thread(fetch)


async def test_outcomes_become_rates_in_the_topic_and_on_the_web(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    async with deployed(kafka, prefix, tmp_path) as deployment:
        before = await asyncio.to_thread(lambda: deployment.admin.list_topics(timeout=30).topics)
        enter(deployment, 20)
        enter(deployment, 3, status="retrying", error="network_error")
        enter(deployment, 2, status="failed", error="timeout_error")
        deployment.publish(deployment.names.outcomes, "job", PlanOutcome(job_id="job", planned=99).encode())
        process = deployment.start("rates")
        windows = (await published(deployment, 22)).windows
        assert [window.seconds for window in windows] == [60, 300, 3600]
        hour = windows[2]
        assert hour.errors == {"network_error": 3, "timeout_error": 2}
        assert hour.records_per_second * hour.covered_seconds == pytest.approx(60, rel=0.01)
        assert hour.bytes_per_second * hour.covered_seconds == pytest.approx(20_000, rel=0.01)
        assert hour.types == {POST: hour.records_per_second}
        assert hour.p50_seconds == pytest.approx(2.0, rel=0.03)
        assert set(hour.hosts) == {"https://0.test", "https://1.test"}
        assert hour.hosts["https://0.test"].mean_seconds == 2.0

        rates = [m for m in await deployment.read(deployment.names.rates) if m.key == "job"]
        assert {message.partition for message in rates} == {partition_for("job", 2)}

        web = await address(deployment, process)
        code, every = await fetched(web)
        assert isinstance(every, list)
        assert (code, [one["job_id"] for one in every]) == (200, ["job"])
        code, one = await fetched(f"{web}job/")
        assert code == 200
        assert JobRates.model_validate(one).windows[2].repositories == 22
        assert await fetched(f"{web}nobody/") == (404, {"error": "nothing was heard of job nobody lately"})

        assert await process.terminate() == 0
        after = await asyncio.to_thread(lambda: deployment.admin.list_topics(timeout=30).topics)
        made = {name for name in after.keys() - before.keys() if name.startswith(prefix)}
        assert made == set()
        assert len(after[deployment.names.rates].partitions) == 2
        assert (tmp_path / "rates").is_dir()


async def test_rubbish_among_the_outcomes_is_skipped(kafka: str, prefix: str, tmp_path: Path) -> None:
    async with deployed(kafka, prefix, tmp_path) as deployment:
        process = deployment.start("rates")
        outcome = RepoOutcome(job_id="job", did="did:plc:a", status="completed", records={POST: 5})
        negative = outcome.encode().replace(b":5}", b":-5}")
        assert negative != outcome.encode()
        for rubbish in (b"\xff\xfe", b"{}", b"", None, b'{"kind":"repo","job_id":"job"}', negative):
            deployment.publish(deployment.names.outcomes, "job", rubbish)
        enter(deployment, 4)
        deployment.publish(deployment.names.outcomes, "job", b"[" * 100_000)
        enter(deployment, 3)
        await published(deployment, 7)
        assert process.alive
        assert await process.terminate() == 0
        log = process.log.read_text()
        assert "skipped messages that are no outcomes" in log
        assert "Traceback" not in log


async def test_outcomes_of_transactions_are_counted_when_they_are_written(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    """As workers write them. Those that are taken back were counted, too: that is why it is approximate."""
    partition = partition_for("job", 2)

    def write(producer: Producer, number: int) -> None:
        for at in range(number):
            outcome = RepoOutcome(job_id="job", did=f"did:plc:{at}", status="completed")
            producer.produce(f"{prefix}outcomes", outcome.encode(), b"job", partition)
        assert producer.flush(30) == 0

    async with deployed(kafka, prefix, tmp_path) as deployment:
        process = deployment.start("rates")
        with transactional(kafka, f"{prefix}worker", **{"compression.type": "zstd"}) as producer:
            for number in (3, 4):
                producer.begin_transaction()
                write(producer, number)
                producer.commit_transaction(30)
            await published(deployment, 7)
            producer.begin_transaction()
            write(producer, 5)
            await published(deployment, 12)
            producer.abort_transaction(30)
            producer.begin_transaction()
            write(producer, 1)
            producer.commit_transaction(30)
            await published(deployment, 13)
        assert await process.terminate() == 0


async def test_after_a_kill_its_successor_knows_the_last_hour_and_goes_on(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    async with deployed(kafka, prefix, tmp_path) as deployment:
        first = deployment.start("rates")
        enter(deployment, 10)
        await published(deployment, 10)
        await first.kill()
        enter(deployment, 5)
        second = deployment.start("rates")
        await published(deployment, 15)  # read again from `outcomes`, each once
        enter(deployment, 2)
        await published(deployment, 17)
        assert await second.terminate() == 0


async def test_two_processes_share_the_jobs_and_one_takes_over_all(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    jobs = {partition_for(f"job-{n}", 2): f"job-{n}" for n in range(8)}
    assert set(jobs) == {0, 1}
    async with deployed(kafka, prefix, tmp_path) as deployment:
        first = deployment.start("rates")
        await address(deployment, first)
        second = deployment.start("rates")
        web = await address(deployment, second)

        async def shared() -> bool:
            """Each new outcome is counted by the process that has its job."""
            for job in jobs.values():
                enter(deployment, 1, job)
            _, every = await fetched(web)
            assert isinstance(every, list)
            return 0 < len(every) < len(jobs)

        await deployment.until(shared, "the second process's share")
        assert await first.terminate() == 0
        took_over = [job for job in jobs.values() if job not in await names_at(web)]

        async def all_at_the_second() -> bool:
            for job in took_over:
                enter(deployment, 1, job)
            return await names_at(web) == set(jobs.values())

        await deployment.until(all_at_the_second, "all jobs at the second process")
        assert await second.terminate() == 0


async def names_at(web: str) -> set[str]:
    """The jobs that a process counts."""
    _, every = await fetched(web)
    assert isinstance(every, list)
    return {one["job_id"] for one in every}


async def test_the_board_shows_the_latest_and_nothing_that_is_old(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    async with deployed(kafka, prefix, tmp_path) as deployment:
        enter(deployment, 6)
        process = deployment.start("rates")
        rates = await published(deployment, 6)
        assert await process.terminate() == 0
        fresh = rates.model_copy(update={"updated_at": datetime.now(UTC)})
        deployment.publish(deployment.names.rates, "job", fresh.encode())
        old = rates.model_copy(
            update={"job_id": "old", "updated_at": rates.updated_at.replace(year=rates.updated_at.year - 1)}
        )
        deployment.publish(deployment.names.rates, "old", old.encode())
        deployment.publish(deployment.names.rates, "rubbish", b"rubbish")
        board = await asyncio.to_thread(RatesBoard, deployment.settings.kafka)
        try:
            assert board.all() == [fresh]
            newer = fresh.model_copy(update={"windows": fresh.windows[:1]})
            deployment.publish(deployment.names.rates, "job", newer.encode())

            async def followed() -> bool:
                await asyncio.to_thread(board.refresh, 0.1)
                return board.of("job") == newer

            await deployment.until(followed, "what was published since")
        finally:
            board.close()
