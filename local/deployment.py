"""A whole deployment on one machine: servers where none are given, the topics, and all processes.

What is embedded keeps its data under the data folder, so that a later start goes on where this one ended.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

from local.announcement import announce, withdraw
from local.broker import require_answer, require_idle
from local.dynamodb import EmbeddedDynamoDB
from local.folder_lock import folder_lock
from local.java import JarCache
from local.kafka import EmbeddedKafka
from local.stores import writable_folder
from local.supervisor import Role, Supervisor
from messaging import clients
from messaging.names import Names, SinkKind
from messaging.topics import create_topics
from schemas.errors import LocalServerError
from schemas.settings import Settings

LocalDynamoDB = Literal["disk", "memory"]
_CLAIM_SECONDS = 2.0


class Deployment:
    """Life: `start_servers`, `start_processes`, `watch` until cancelled, `stop`. All in the main thread's
    event loop. The data folder is its own meanwhile."""

    def __init__(
        self,
        settings: Settings,
        *,
        workers: int,
        sinks: Sequence[SinkKind],
        local_dynamodb: LocalDynamoDB | None = None,
        instruments: bool = False,
        gives_up: bool = True,
        staffed: Callable[[Sequence[Role]], Sequence[Role]] = lambda roles: roles,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`local_dynamodb` embeds DynamoDB Local, unless an endpoint is set already: kept on disk, where
        every item waits for an fsync, or in memory, where it is gone at the end. `instruments`:
        with the processes that only tell of the others, on which nothing depends. `gives_up`: whether
        `watch` fails for a process that can't be kept running, or goes on trying. `staffed` may start the
        processes in another way, or more of them. `report` is told of downloads, from any thread."""
        self.settings = settings
        self._workers, self._sinks, self._instruments = workers, sinks, instruments
        data, jars = settings.data_dir, JarCache(report=report)
        self._kafka = None if settings.kafka.bootstrap_servers else EmbeddedKafka(data / "kafka", jars=jars)
        wants_dynamodb = local_dynamodb is not None and not settings.dynamodb.endpoint_url
        self._dynamodb = (
            EmbeddedDynamoDB(data / "dynamodb", in_memory=local_dynamodb == "memory", jars=jars)
            if wants_dynamodb
            else None
        )
        self.creates_tables = local_dynamodb is not None
        self._gives_up, self._staffed = gives_up, staffed
        self._claim = AsyncExitStack()
        self.supervisor: Supervisor | None = None

    @property
    def logs(self) -> Path:
        """The folder of the processes' logs."""
        return self.settings.data_dir / "logs"

    async def start_servers(self) -> Settings:
        """Starts what is embedded and makes the topics; the settings with all addresses filled in.

        Raises ConfigError for an unusable data folder, LocalServerError for one that another deployment
        has, and DeploymentError where a given broker does not answer or has other processes at work.
        """
        await self._claim_folder()
        if self._kafka is None:
            await asyncio.to_thread(self._require_broker)
        changes: dict[str, object] = {}
        try:
            async with asyncio.TaskGroup() as starting:
                broker = starting.create_task(self._kafka.start()) if self._kafka else None
                tables = starting.create_task(self._dynamodb.start()) if self._dynamodb else None
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        if broker:
            changes["kafka"] = self.settings.kafka.model_copy(update={"bootstrap_servers": broker.result()})
        if tables:
            changes["dynamodb"] = self.settings.dynamodb.model_copy(update={"endpoint_url": tables.result()})
        self.settings = self.settings.model_copy(update=changes)
        kafka = self.settings.kafka
        await asyncio.to_thread(create_topics, clients.admin(kafka), kafka)
        announce(self.settings)
        self._claim.callback(withdraw, self.settings.data_dir)
        return self.settings

    def start_processes(self) -> None:
        """Starts the planner, workers, tracker and sinks under supervision. Raises LocalServerError."""
        roles = self._staffed(self._roles())
        self.supervisor = Supervisor(roles, self._environment(), self.logs, gives_up=self._gives_up)
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
        await self._claim.aclose()

    async def _claim_folder(self) -> None:
        """Two deployments of one folder would share slots and logs. A killed one's claim dies with it."""
        folder = self.settings.data_dir
        writable_folder(folder, "data folder")
        try:
            await self._claim.enter_async_context(folder_lock(folder, patience=_CLAIM_SECONDS))
        except LocalServerError:
            raise LocalServerError(
                f"another skyfill runs with the data folder {folder.absolute()}. Wait for it, stop it, or "
                f"choose another folder with --data"
            ) from None

    def _require_broker(self) -> None:
        kafka = self.settings.kafka
        require_answer(kafka)
        if self.settings.worker_slot is None:
            names = Names(kafka.topic_prefix)
            sinks = [names.sink_group(kind) for kind in self._sinks]
            require_idle(kafka, [names.worker_group, names.tracker_group, *sinks])

    def _roles(self) -> list[Role]:
        first = self.settings.worker_slot or 0
        roles = [Role("producer", _command("producer")), Role("tracker", _command("tracker"), first)]
        roles += [Role(f"worker-{n}", _command("worker"), first + n) for n in range(self._workers)]
        for kind in self._sinks:
            flags = ["--create-tables"] if kind == "dynamodb" and self.creates_tables else []
            roles.append(Role(f"sink-{kind}", _command("sink", kind, *flags), first))
        if self._instruments:
            roles += [Role(name, _command(name), optional=True) for name in ("rates", "lag-exporter", "api")]
            roles.append(Role("notifier", _command("notifier"), first, optional=True))
        return roles

    def _environment(self) -> dict[str, str]:
        settings = self.settings
        env = dict(os.environ) | {
            "SKYFILL_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers or "",
            "SKYFILL_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
            "SKYFILL_NETWORK__PLC_URL": settings.network.plc_url,
            "SKYFILL_NETWORK__RELAY_URL": settings.network.relay_url,
            "SKYFILL_NETWORK__ALLOW_PRIVATE_HOSTS": str(settings.network.allow_private_hosts).lower(),
            "SKYFILL_WORKER__HOST_GIVE_UP_SECONDS": str(settings.worker.host_give_up_seconds),
            "SKYFILL_DATA_DIR": str(settings.data_dir.absolute()),
            "SKYFILL_LOG_LEVEL": settings.log_level,
            "SKYFILL_METRICS__HOST": settings.metrics.host,
            "SKYFILL_METRICS__PORT": "null" if settings.metrics.port is None else str(settings.metrics.port),
            "PYTHONUNBUFFERED": "1",
        }
        mirror = settings.network.plc_mirror
        env["SKYFILL_NETWORK__PLC_MIRROR"] = str(mirror.absolute()) if mirror else "null"
        if settings.network.handle_url:
            env["SKYFILL_NETWORK__HANDLE_URL"] = settings.network.handle_url
        if settings.s3.endpoint_url:
            env["SKYFILL_S3__ENDPOINT_URL"] = settings.s3.endpoint_url
        if settings.dynamodb.endpoint_url:
            env["SKYFILL_DYNAMODB__ENDPOINT_URL"] = settings.dynamodb.endpoint_url
        return env


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "cli", *words]
