"""Worker and tracker as real processes on real topics, fed by what the planner would write.

The simulated network runs in the tests' own event loop, so whatever waits for Kafka waits in a thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from confluent_kafka import Consumer, TopicPartition

from local.network.keys import did_key
from local.network.network import Network
from messaging import clients
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.polling import Delivered, poll
from messaging.topics import committed_offsets, create_topics, end_offsets, topics
from schemas.dids import DidTask
from schemas.job_specs import JobSpec, JobState
from schemas.job_status import JobHost, JobStatus, job_of
from schemas.outcomes import JobEvent, PlanOutcome, RepoOutcome, decode_outcome
from schemas.settings import Settings
from tests.stream_workers.documents import job_spec

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 90
_BEGIN = "import logging; logging.basicConfig(level=20); from schemas.settings import Settings"
_CODE = {
    "worker": "from stream_workers.fetch.main import run_fetch_worker; run_fetch_worker(Settings())",
    "tracker": (
        "import signal, threading; stop = threading.Event(); "
        "signal.signal(signal.SIGTERM, lambda *_: stop.set()); "
        "from stream_workers.tracker.main import run_tracker; run_tracker(Settings(), stop)"
    ),
    "rates": "from stream_workers.rates.main import run_rates; run_rates(Settings())",
    "halting": "from tests.stream_workers.halting import run; run(Settings())",
}
Kind = Literal["worker", "tracker", "rates", "halting"]


class Reader:
    """A topic from its beginning to whatever is committed by now; `consumer` may read more than that."""

    def __init__(self, settings: Settings, topic: str, consumer: Consumer | None = None) -> None:
        self._admin = clients.admin(settings.kafka)
        self._consumer = consumer or clients.reader(settings.kafka)
        self._topic = topic
        count = len(self._admin.list_topics(topic, timeout=30).topics[topic].partitions)
        self._positions = dict.fromkeys(range(count), 0)
        self._consumer.assign([TopicPartition(topic, p, 0) for p in self._positions])
        self.messages: list[Delivered] = []

    def read(self) -> list[Delivered]:
        """All messages up to the present read-committed end."""
        ends = end_offsets(self._admin, self._topic, self._positions)
        deadline = time.monotonic() + WAIT_SECONDS
        while any(self._positions[p] < end for p, end in ends.items()):
            assert time.monotonic() < deadline, f"{self._topic} can't be read to its end"
            polled = poll(self._consumer, 1000, 0.1)
            self.messages += polled.messages
            for message in polled.messages:
                self._positions[message.partition] = message.offset + 1
            for (_, partition), position in polled.ends.items():
                self._positions[partition] = max(position, self._positions[partition])
        return self.messages

    def close(self) -> None:
        self._consumer.close()


class Process:
    """One process of ours; its log is told when something goes wrong with it."""

    def __init__(self, kind: Kind, environment: dict[str, str], log: Path) -> None:
        code = f"{_BEGIN}; {_CODE[kind]}"
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self, seconds: float = 30) -> int:
        """The exit code; TimeoutExpired if it takes longer."""
        return await asyncio.to_thread(self._process.wait, seconds)

    async def kill(self) -> None:
        """SIGKILL: nothing of it runs on."""
        self._process.kill()
        await self.ended()

    async def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self._process.terminate()
        return await self.ended()


class Deployment:
    """Topics under one prefix, the processes on them, and readers of what they wrote."""

    def __init__(
        self,
        bootstrap_servers: str,
        prefix: str,
        folder: Path,
        plc_url: str,
        *,
        records: int = 4,
        **more: str,
    ) -> None:
        """`records`: partitions of that topic; `more`: SKYFILL_ variables of the processes without prefix."""
        self.environment = {
            "SKYFILL_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
            "SKYFILL_KAFKA__TOPIC_PREFIX": prefix,
            "SKYFILL_KAFKA__PARTITIONS__DIDS": "4",
            "SKYFILL_KAFKA__PARTITIONS__RECORDS": str(records),
            "SKYFILL_KAFKA__PARTITIONS__OUTCOMES": "2",
            "SKYFILL_KAFKA__PARTITIONS__DEADLETTER": "1",
            "SKYFILL_KAFKA__PARTITIONS__REPOS": "1",
            "SKYFILL_KAFKA__SESSION_TIMEOUT_SECONDS": "2",
            "SKYFILL_KAFKA__TRANSACTION_TIMEOUT_SECONDS": "5",
            "SKYFILL_NETWORK__PLC_URL": plc_url,
            "SKYFILL_NETWORK__ALLOW_PRIVATE_HOSTS": "true",
            "SKYFILL_DATA_DIR": str(folder),
        } | {f"SKYFILL_{name}": value for name, value in more.items()}
        self.settings = _settings_of(self.environment)
        self.names = Names(prefix)
        self.admin = clients.admin(self.settings.kafka)
        # By a client that is gone at once: librdkafka never finishes destroying one that made topics on a
        # broker which has stopped meanwhile.
        create_topics(clients.admin(self.settings.kafka), self.settings.kafka)
        self._counts = {topic.name: topic.partitions for topic in topics(self.settings.kafka)}
        self._producer = clients.producer(self.settings.kafka)
        self._folder = folder
        self._started: list[Process] = []
        self._readers: dict[str, Reader] = {}

    # Writing

    def publish(self, topic: str, key: str, value: bytes | None) -> None:
        """One message, in the partition that it belongs to."""
        self._producer.produce(topic, value, key.encode(), partition_for(key, self._counts[topic]))
        self._producer.flush()

    def set_job(self, job: str, state: JobState = "active", **fields: Any) -> JobSpec:
        """A job as the planner publishes it."""
        spec = job_spec(job, state, **fields)
        self.publish(self.names.job_specs, job, spec.encode())
        return spec

    def plan(self, job: str, tasks: Iterable[DidTask], **fields: Any) -> None:
        """A whole job: specification, tasks, and the plan's end."""
        self.set_job(job, **fields)
        event = JobEvent(job_id=job, event="submitted", name="a-job", at=datetime.now(UTC))
        self.publish(self.names.outcomes, job, event.encode())
        planned = self.give(tasks)
        outcome = PlanOutcome(job_id=job, planned=planned, finished=True)
        self.publish(self.names.outcomes, job, outcome.encode())

    def give(self, tasks: Iterable[DidTask]) -> int:
        """Tasks for the workers; how many."""
        count = 0
        for task in tasks:
            key = task.pds
            partition = partition_for(key, self._counts[self.names.dids])
            self._producer.produce(self.names.dids, task.encode(), key.encode(), partition)
            count += 1
        self._producer.flush()
        return count

    # Processes

    def start(self, kind: Kind, *, slot: int = 0, **more: str) -> Process:
        log = self._folder / f"{kind}-{len(self._started)}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = self.environment | {f"SKYFILL_{name}": value for name, value in more.items()}
        process = Process(kind, environment | {"SKYFILL_WORKER_SLOT": str(slot)}, log)
        self._started.append(process)
        return process

    async def close(self) -> None:
        """Ends what still runs."""
        for process in self._started:
            if process.alive:
                process.send(signal.SIGCONT)
                await process.kill()
        for reader in self._readers.values():
            await asyncio.to_thread(reader.close)

    # Reading

    async def read(self, topic: str) -> list[Delivered]:
        """All committed messages of a topic, in the order of each partition."""
        return await asyncio.to_thread(self._read, topic)

    async def outcomes(self, job: str | None = None) -> list[RepoOutcome]:
        """What became of accounts so far."""
        found = [decode_outcome(m.value or b"") for m in await self.read(self.names.outcomes) if readable(m)]
        return [o for o in found if isinstance(o, RepoOutcome) and job in (None, o.job_id)]

    async def status(self, job: str) -> JobStatus | None:
        """The job's newest status."""
        values = [m.value for m in await self.read(self.names.job_status) if m.key == job]
        return JobStatus.decode(values[-1] or b"") if values else None

    async def hosts(self, job: str) -> dict[str, JobHost]:
        """The job's newest counts by host."""
        found: dict[str, JobHost] = {}
        for message in await self.read(self.names.job_hosts):
            if job_of(message.key) == job:
                host = message.key.removeprefix(f"{job} ")
                found.pop(host, None)
                if message.value is not None:
                    found[host] = JobHost.decode(message.value)
        return found

    async def final(self, job: str) -> JobStatus:
        """The job's status once it has ended."""

        async def ended() -> JobStatus | None:
            status = await self.status(job)
            return status if status is not None and status.final else None

        return await self.until(ended, f"the end of {job}")

    async def until(self, holds: Callable[[], Awaitable[T | None]], what: str) -> T:
        """Waits for what other processes do; tells their logs if they don't."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := await holds()):
            if time.monotonic() > deadline:
                logs = "\n".join(f"{p.log.name}:\n{p.log.read_text()[-3000:]}" for p in self._started)
                raise AssertionError(f"waited in vain for {what}\n{logs}")
            await asyncio.sleep(0.1)
        return found

    async def ends(self, topic: str, *, committed: bool = True) -> dict[int, int]:
        """The end of each partition."""
        partitions = range(self._counts[topic])
        return await asyncio.to_thread(end_offsets, self.admin, topic, partitions, committed=committed)

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """What a group has committed, by partition."""
        return await asyncio.to_thread(
            committed_offsets, self.admin, group, topic, range(self._counts[topic])
        )

    async def quiet(self) -> None:
        """Waits until no transaction is open: a commit is decided before its markers are everywhere."""

        async def closed() -> bool:
            ends = [
                await self.ends(topic, committed=False) == await self.ends(topic) for topic in self._counts
            ]
            return all(ends)

        await self.until(closed, "the end of all transactions")

    def _read(self, topic: str) -> list[Delivered]:
        if topic not in self._readers:
            self._readers[topic] = Reader(self.settings, topic)
        return self._readers[topic].read()


def readable(message: Delivered) -> bool:
    """Whether a message of `outcomes` was meant to be one."""
    return (message.value or b"").startswith(b"{")


def tasks_of(network: Network, job: str, numbers: Iterable[int], **fields: Any) -> list[DidTask]:
    """Tasks as the planner makes them before any fault strikes: an account's first host and first key."""
    found = []
    for number in numbers:
        account = network.account(number)
        known = {"pds": network.hosts[account.host], "signing_key": did_key(account.key())}
        found.append(
            DidTask.model_validate(
                {"job_id": job, "did": account.did, "handle": account.handle} | known | fields
            )
        )
    return found


def _settings_of(environment: dict[str, str]) -> Settings:
    """The settings that a process with this environment has."""
    kept = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        return Settings()
    finally:
        for name, value in kept.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
