"""A whole deployment on one machine: servers where none are given, the topics, and all processes.

What is embedded keeps its data under the data folder, so that a later start goes on where this one ended.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from local.dynamodb import EmbeddedDynamoDB
from local.kafka import EmbeddedKafka
from local.supervisor import Role, Supervisor
from messaging import clients
from messaging.names import SinkKind
from messaging.topics import create_topics
from schemas.errors import LocalServerError
from schemas.settings import Settings

LocalDynamoDB = Literal["disk", "memory"]


class Deployment:
    """Life: `start`, then `watch` until cancelled, then `stop`. In the main thread's event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        workers: int,
        sinks: Sequence[SinkKind],
        local_dynamodb: LocalDynamoDB | None = None,
    ) -> None:
        """`local_dynamodb` embeds DynamoDB Local, unless an endpoint is set already: kept on disk, where
        every item waits for an fsync, or in memory, where it is gone at the end."""
        self.settings = settings
        self._workers, self._sinks = workers, sinks
        data = settings.data_dir
        self._kafka = None if settings.kafka.bootstrap_servers else EmbeddedKafka(data / "kafka")
        wants_dynamodb = local_dynamodb is not None and not settings.dynamodb.endpoint_url
        self._dynamodb = (
            EmbeddedDynamoDB(data / "dynamodb", in_memory=local_dynamodb == "memory")
            if wants_dynamodb
            else None
        )
        self._create_tables = local_dynamodb is not None
        self.supervisor: Supervisor | None = None

    @property
    def embeds_kafka(self) -> bool:
        """Whether the broker is ours."""
        return self._kafka is not None

    @property
    def logs(self) -> Path:
        """The folder of the processes' logs."""
        return self.settings.data_dir / "logs"

    async def start_servers(self) -> Settings:
        """Starts what is embedded and makes the topics; the settings with all addresses filled in.

        Raises LocalServerError and DeploymentError.
        """
        changes: dict[str, object] = {}
        async with asyncio.TaskGroup() as starting:
            broker = starting.create_task(self._kafka.start()) if self._kafka else None
            tables = starting.create_task(self._dynamodb.start()) if self._dynamodb else None
        if broker:
            changes["kafka"] = self.settings.kafka.model_copy(update={"bootstrap_servers": broker.result()})
        if tables:
            changes["dynamodb"] = self.settings.dynamodb.model_copy(update={"endpoint_url": tables.result()})
        self.settings = self.settings.model_copy(update=changes)
        kafka = self.settings.kafka
        await asyncio.to_thread(create_topics, clients.admin(kafka), kafka)
        return self.settings

    def start_processes(self) -> None:
        """Starts the planner, workers, tracker and sinks under supervision. Raises LocalServerError."""
        self.supervisor = Supervisor(self._roles(), self._environment(), self.logs)
        self.supervisor.start()

    async def watch(self) -> None:
        """Keeps the processes running. LocalServerError when something can't be mended from here."""
        assert self.supervisor is not None
        watching = asyncio.create_task(self.supervisor.watch())
        servers = [s.process for s in (self._kafka, self._dynamodb) if s is not None]
        try:
            while not watching.done():
                for process in servers:
                    if process is not None and not process.running:
                        tail = f"The end of {process.log}:\n{process.log_tail(15)}"
                        raise LocalServerError(f"{process.name} ended by itself. {tail}")
                await asyncio.wait([watching], timeout=0.5)
            watching.result()
        finally:
            watching.cancel()

    async def stop(self) -> None:
        """Ends all cleanly: the processes first, then the servers that they talk to."""
        if self.supervisor is not None:
            await self.supervisor.stop()
        for server in (self._dynamodb, self._kafka):
            if server is not None:
                await server.stop()

    def _roles(self) -> list[Role]:
        first = self.settings.worker_slot or 0
        roles = [Role("producer", _command("producer")), Role("tracker", _command("tracker"), first)]
        roles += [Role(f"worker-{n}", _command("worker"), first + n) for n in range(self._workers)]
        for kind in self._sinks:
            flags = ["--create-tables"] if kind == "dynamodb" and self._create_tables else []
            roles.append(Role(f"sink-{kind}", _command("sink", kind, *flags), first))
        return roles

    def _environment(self) -> dict[str, str]:
        settings = self.settings
        env = dict(os.environ) | {
            "SKYFILL_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers or "",
            "SKYFILL_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
            "SKYFILL_NETWORK__PLC_URL": settings.network.plc_url,
            "SKYFILL_NETWORK__RELAY_URL": settings.network.relay_url,
            "SKYFILL_NETWORK__ALLOW_PRIVATE_HOSTS": str(settings.network.allow_private_hosts).lower(),
            "SKYFILL_DATA_DIR": str(settings.data_dir.absolute()),
            "SKYFILL_LOG_LEVEL": settings.log_level,
            "PYTHONUNBUFFERED": "1",
        }
        if settings.network.handle_url:
            env["SKYFILL_NETWORK__HANDLE_URL"] = settings.network.handle_url
        if settings.dynamodb.endpoint_url:
            env["SKYFILL_DYNAMODB__ENDPOINT_URL"] = settings.dynamodb.endpoint_url
        return env


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "cli", *words]
