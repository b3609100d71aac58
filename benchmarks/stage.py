"""What scenarios run on: one embedded broker, a folder, and topics under a prefix for each scenario.

Every wait has an end, and every process that was started is stopped, however a scenario ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson
from confluent_kafka.admin import AdminClient

from benchmarks.measure import cpu_seconds
from benchmarks.repositories import Repositories
from local.kafka import EmbeddedKafka
from local.process import ChildProcess
from messaging import clients
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.topics import committed_offsets, create_topics, end_offsets, topics
from schemas.errors import LocalServerError
from schemas.job_specs import JobSpec
from schemas.message import Message
from schemas.settings import DynamoDBSettings, KafkaSettings, NetworkSettings, Settings

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
PATIENCE = 300.0
"""Seconds that a scenario's work may take."""
_READY_SECONDS = 90.0
_LOOK_SECONDS = 0.1
_REST_SECONDS = 0.5
_REST_SHARE = 0.1
"""A process that takes less of a CPU than this for half a second is at rest."""


class Scene:
    """One scenario's topics, settings and processes."""

    def __init__(self, settings: Settings) -> None:
        """Makes the topics. `settings` have all addresses and a prefix that nobody else has."""
        self.settings = settings
        self.kafka = settings.kafka
        self.names = Names(settings.kafka.topic_prefix)
        self.admin: AdminClient = clients.admin(settings.kafka)
        self.partitions = {topic.name: topic.partitions for topic in topics(settings.kafka)}
        # By a client that is gone at once: librdkafka never finishes destroying one that made topics on a
        # broker which has stopped meanwhile.
        create_topics(clients.admin(settings.kafka), settings.kafka)

    def job(self, storage: dict[str, Any]) -> JobSpec:
        """A job over everything, as fast as hosts allow, published for whoever needs it."""
        document = {
            "name": "bench",
            "source": {"type": "file", "path": str(self.settings.data_dir / "dids.txt")},
            "processing": {"requests_per_second": 10_000},
            "storage": storage,
        }
        spec = JobSpec.model_validate(
            {"job_id": "bench", "backfill": document, "submitted_at": datetime.now(UTC)}
        )
        self.publish(self.names.job_specs, [(spec.job_id, spec)])
        return spec

    def write_source(self, dids: Iterable[str]) -> None:
        """The file that the jobs' accounts come from."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        (self.settings.data_dir / "dids.txt").write_text("".join(f"{did}\n" for did in dids))

    def publish(self, topic: str, messages: Sequence[tuple[str, Message]]) -> None:
        """Messages by key, acknowledged by the broker on return."""
        producer = clients.producer(self.kafka)
        for key, message in messages:
            partition = partition_for(key, self.partitions[topic])
            producer.produce(topic, message.encode(), key.encode(), partition)
        if producer.flush(30):
            raise LocalServerError(f"the broker did not take all messages of {topic}; its log says why")

    @contextmanager
    def process(self, name: str, *words: str) -> Iterator[ChildProcess]:
        """`skyfill WORDS`, running until the block ends."""
        command = [sys.executable, "-m", "cli", *words]
        log = self.settings.data_dir / "logs" / f"{name}.log"
        with running(ChildProcess(name, command, log, env=environment(self.settings), cwd=ROOT)) as process:
            yield process

    def await_rest(self, process: ChildProcess, group: str, topic: str, *, members: int = 1) -> None:
        """Returns once the process is idle and its group's members share the topic: all have started up."""

        def shared() -> bool:
            held = self._held(group, topic)
            return len(held) == members and all(held) and sum(held) == self.partitions[topic]

        self.until(
            shared,
            f"{process.name} to take its partitions",
            [process],
            seconds=_READY_SECONDS,
        )
        self.until(lambda: _rests(process), f"{process.name} to come to rest", [process], seconds=30.0)

    def await_caught_up(self, process: ChildProcess, group: str, topic: str) -> None:
        """Returns once the group has committed all that lies in the topic, transaction markers included."""
        self.until(lambda: self._caught_up(group, topic), f"{process.name} to finish", [process])

    def until(
        self,
        holds: Callable[[], T | None],
        what: str,
        processes: Sequence[ChildProcess],
        *,
        seconds: float = PATIENCE,
    ) -> T:
        """The first answer that is true, asked ten times a second.

        LocalServerError if a process ends before, or if there is none after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not (found := holds()):
            for process in processes:
                if not process.running:
                    ended = f"{process.name} ended by itself (exit code {process.returncode})"
                    raise LocalServerError(f"{ended}. The end of its log:\n{process.log_tail(15)}")
            if time.monotonic() > deadline:
                tails = "\n".join(f"{process.log}:\n{process.log_tail(15)}" for process in processes)
                raise LocalServerError(f"waited {seconds:.0f} s in vain for {what}. {tails}")
            time.sleep(_LOOK_SECONDS)
        return found

    def _held(self, group: str, topic: str) -> list[int]:
        """How many partitions of the topic each member of the group has."""
        described = self.admin.describe_consumer_groups([group], request_timeout=10)[group].result(10)
        return [
            sum(place.topic == topic for place in member.assignment.topic_partitions)
            for member in described.members
        ]

    def _caught_up(self, group: str, topic: str) -> bool:
        partitions = range(self.partitions[topic])
        ends = end_offsets(self.admin, topic, partitions, committed=False)
        return committed_offsets(self.admin, group, topic, partitions) == ends


@dataclass(frozen=True)
class Served:
    """A network that answers. `origins` are its PDSs by number; any of them serves as PLC, too."""

    origins: list[str]
    process: ChildProcess


class Stage:
    """Life: `Stage.open`, then scenes one after the other."""

    def __init__(self, folder: Path, repositories: Repositories, kafka: EmbeddedKafka, address: str) -> None:
        """See `open`."""
        self.folder, self.repositories = folder, repositories
        self._kafka, self._address = kafka, address

    @classmethod
    @contextmanager
    def open(cls, folder: Path, repositories: Repositories) -> Iterator[Stage]:
        """A stage with a broker of its own, whose data lie in `folder`. Raises LocalServerError."""
        kafka = EmbeddedKafka(folder / "kafka")
        try:
            yield cls(folder, repositories, kafka, asyncio.run(kafka.start()))
        finally:
            asyncio.run(kafka.stop())

    @property
    def broker(self) -> ChildProcess:
        """The broker's process."""
        assert self._kafka.process is not None
        return self._kafka.process

    def scene(self, name: str, *, plc_url: str = "", dynamodb_url: str | None = None) -> Scene:
        """New topics under the scenario's name, with the settings that a deployment has by default."""
        return Scene(
            Settings(
                data_dir=self.folder / name,
                kafka=KafkaSettings(bootstrap_servers=self._address, topic_prefix=f"{name}."),
                network=NetworkSettings(plc_url=plc_url or "http://127.0.0.1:9", allow_private_hosts=True),
                dynamodb=DynamoDBSettings(endpoint_url=dynamodb_url),
            )
        )

    @contextmanager
    def network(self, accounts: int, cars: Path | None = None) -> Iterator[Served]:
        """PLC and PDSs until the block ends; see benchmarks.network."""
        ready = self.folder / "network.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.network", str(ready), str(accounts)]
        command += [str(cars)] if cars else []

        async def served() -> bool:
            return ready.exists()

        with running(ChildProcess("network", command, self.folder / "network.log", cwd=ROOT)) as process:
            asyncio.run(process.wait_until(served, patience=_READY_SECONDS))
            yield Served(orjson.loads(ready.read_bytes()), process)


@contextmanager
def running(process: ChildProcess) -> Iterator[ChildProcess]:
    """Started, and stopped at the end."""
    process.start()
    try:
        yield process
    finally:
        asyncio.run(process.stop())


def environment(settings: Settings) -> dict[str, str]:
    """What a process needs in its environment to have these settings; no metrics, they would run beside."""
    return dict(os.environ) | {
        "SKYFILL_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers or "",
        "SKYFILL_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "SKYFILL_NETWORK__PLC_URL": settings.network.plc_url,
        "SKYFILL_NETWORK__ALLOW_PRIVATE_HOSTS": "true",
        "SKYFILL_DYNAMODB__ENDPOINT_URL": settings.dynamodb.endpoint_url or "null",
        "SKYFILL_WORKER__SILENCE_SECONDS": str(settings.worker.silence_seconds),
        "SKYFILL_WORKER__CONNECT_SECONDS": str(settings.worker.connect_seconds),
        "SKYFILL_DATA_DIR": str(settings.data_dir),
        "SKYFILL_METRICS__PORT": "null",
        "PYTHONUNBUFFERED": "1",
    }


def _rests(process: ChildProcess) -> bool:
    before = cpu_seconds(process.pid or 0)
    time.sleep(_REST_SECONDS)
    return cpu_seconds(process.pid or 0) - before < _REST_SHARE * _REST_SECONDS
