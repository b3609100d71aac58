"""A whole deployment for a test: the test session's broker and DynamoDB, and all processes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from local.compare import Comparison, compare, dynamodb_records, parquet_records, records_of
from local.deployment import Deployment
from local.network.network import Network
from local.supervisor import Running
from messaging.control import SinkPositions, StatusBoard, hosts_of
from messaging.names import SINK_KINDS, Names, SinkKind
from schemas.job_status import Counts, JobStatus
from schemas.settings import (
    DynamoDBSettings,
    KafkaSettings,
    MetricsSettings,
    NetworkSettings,
    Partitions,
    Settings,
)

PATIENCE = 120.0


def settings_for(kafka: str, dynamodb: str, prefix: str, plc_url: str, data: Path) -> Settings:
    """Settings with short sessions and few partitions, so that a kill is noticed soon."""
    return Settings(
        data_dir=data,
        kafka=KafkaSettings(
            bootstrap_servers=kafka,
            topic_prefix=prefix,
            partitions=Partitions(dids=8, records=4, outcomes=2, deadletter=1, repos=1),
            session_timeout_seconds=6,
            transaction_timeout_seconds=10,
            commit_interval_seconds=0.3,
        ),
        network=NetworkSettings(plc_url=plc_url, allow_private_hosts=True),
        dynamodb=DynamoDBSettings(endpoint_url=dynamodb),
        metrics=MetricsSettings(port=0),
    )


def environment(settings: Settings) -> dict[str, str]:
    """What a process needs in its environment to have these settings."""
    kafka, parts = settings.kafka, settings.kafka.partitions
    return {
        **os.environ,
        "SKYFILL_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers or "",
        "SKYFILL_KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
        "SKYFILL_KAFKA__SESSION_TIMEOUT_SECONDS": str(kafka.session_timeout_seconds),
        "SKYFILL_KAFKA__TRANSACTION_TIMEOUT_SECONDS": str(kafka.transaction_timeout_seconds),
        "SKYFILL_KAFKA__COMMIT_INTERVAL_SECONDS": str(kafka.commit_interval_seconds),
        **{f"SKYFILL_KAFKA__PARTITIONS__{k.upper()}": str(v) for k, v in parts.model_dump().items()},
        "SKYFILL_NETWORK__PLC_URL": settings.network.plc_url,
        "SKYFILL_NETWORK__ALLOW_PRIVATE_HOSTS": "true",
        "SKYFILL_DYNAMODB__ENDPOINT_URL": settings.dynamodb.endpoint_url or "",
        "SKYFILL_DATA_DIR": str(settings.data_dir),
        "SKYFILL_SINK__FLUSH_SECONDS": "2",
    }


@dataclass
class Rig:
    """A running deployment."""

    settings: Settings
    deployment: Deployment
    board: StatusBoard
    watching: asyncio.Task[None]

    def publish(self, key: str | None, value: bytes) -> None:
        """Sends a message to `jobs` the way any Kafka client would."""
        client = Producer({"bootstrap.servers": self.settings.kafka.bootstrap_servers})
        client.produce(Names(self.settings.kafka.topic_prefix).jobs, value, key)
        assert client.flush(30) == 0

    async def status(self, job_id: str, until: Callable[[JobStatus], bool]) -> JobStatus:
        """The job's status as soon as `until` is true of it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.watching.done():
                self.watching.result()
            await asyncio.to_thread(self.board.refresh, 0.1)
            known = self.board.of(job_id)
            if known is not None and until(known):
                return known
        raise AssertionError(f"job {job_id} stands at {self.board.of(job_id)}")

    async def hosts(self, job_id: str) -> dict[str, Counts]:
        """The job's counts by host as of now."""
        pages = await asyncio.to_thread(hosts_of, self.settings.kafka, job_id)
        return {host: page.counts for host, page in pages.items()}

    async def drained(self, kinds: Iterable[SinkKind] = SINK_KINDS) -> None:
        """Returns when the sinks have stored all that lies in `records` now."""
        positions = SinkPositions(self.settings.kafka)
        ends = await asyncio.to_thread(positions.ends)
        deadline = time.monotonic() + PATIENCE
        for kind in kinds:
            while (behind := await asyncio.to_thread(positions.behind, kind, ends)) != 0:
                assert time.monotonic() < deadline, f"{kind} is still {behind} behind"
                await asyncio.sleep(0.2)

    async def kill(self, name: str) -> None:
        """SIGKILL to a process; returns when its successor was started."""
        victim = self.process(name)
        restarts = victim.restarts
        victim.process.kill()
        deadline = time.monotonic() + PATIENCE
        while victim.restarts == restarts:
            assert time.monotonic() < deadline, f"{name} was not started again"
            await asyncio.sleep(0.05)

    async def logged(self, name: str, text: str) -> None:
        """Returns when a process has logged this."""
        log = self.process(name).process.log
        deadline = time.monotonic() + PATIENCE
        while text not in log.read_text():
            assert time.monotonic() < deadline, f"{name} never logged {text!r}"
            await asyncio.sleep(0.1)

    def process(self, name: str) -> Running:
        """One of the supervised processes."""
        assert self.deployment.supervisor is not None
        return next(one for one in self.deployment.supervisor.running if one.role.name == name)


@asynccontextmanager
async def running(
    settings: Settings, *, workers: int = 2, sinks: Iterable[SinkKind] = SINK_KINDS, monkeypatch: Any
) -> AsyncIterator[Rig]:
    """A deployment that runs until the block ends."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    deployment = Deployment(settings, workers=workers, sinks=list(sinks), local_dynamodb="memory")
    await deployment.start_servers()
    deployment.start_processes()
    board = await asyncio.to_thread(StatusBoard, settings.kafka)
    watching = asyncio.create_task(deployment.watch())
    try:
        yield Rig(settings, deployment, board, watching)
    finally:
        watching.cancel()
        await deployment.stop()
        board.close()


async def compared(
    network: Network, parquet: Path, dynamodb: DynamoDBSettings, table: str
) -> list[Comparison]:
    """Both stores against what the network served."""
    truth = list(records_of(network.truth()))
    items = await asyncio.to_thread(lambda: compare("DynamoDB", truth, dynamodb_records(dynamodb, table)))
    return [compare("Parquet", truth, parquet_records(parquet)), items]
