"""Apache Kafka as a child process: one node, broker and controller in one (KRaft), on the loopback interface.

For demos, tests and small backfills on one machine. Its data folder keeps everything: after a SIGKILL of the
whole machine's skyfill, a start on the same folder goes on with the same cluster and the same data.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import uuid
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from local.java import JarCache, java_command, load_program
from local.ports import HOST
from local.process import ChildProcess
from local.server import EmbeddedServer
from schemas.errors import LocalServerError

READY_SECONDS = 90
NODE_ID = 1
INT_MAX = 2**31 - 1

# What a single small node needs, and what skyfill's guarantees ask of any broker.
BROKER_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": str(NODE_ID),
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",
    # A topic exists only with the settings that `skyfill topics create` gives it.
    "auto.create.topics.enable": "false",
    # A group's position must outlive any pause of its consumers.
    "offsets.retention.minutes": str(INT_MAX),
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "5",
    "transaction.max.timeout.ms": str(15 * 60 * 1000),
    # A hanging transaction stops every read-committed reader: look for expired ones oftener than every 10 s.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "2000",
    # 4 MiB of records and the batch around them.
    "message.max.bytes": str(5 * 1024 * 1024),
    "replica.fetch.max.bytes": str(5 * 1024 * 1024),
    "group.initial.rebalance.delay.ms": "0",
    # After a SIGKILL the controller lets nobody take the broker's place until its session has run out (9 s).
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    # The default, 128 MiB, is a quarter of the heap; it still suits logs of some million keys.
    "log.cleaner.dedupe.buffer.size": str(32 * 1024 * 1024),
    "num.network.threads": "2",
    "num.io.threads": "4",
}

# slf4j-simple: warnings and errors, and the line that says "started".
LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)

logger = logging.getLogger(__name__)
# What librdkafka says of a broker that isn't there yet is no news.
silent = logging.getLogger(f"{__name__}.probe")
silent.addHandler(logging.NullHandler())
silent.propagate = False


class EmbeddedKafka(EmbeddedServer):
    """A broker over ``data_dir``; its address are the bootstrap servers, ``127.0.0.1:PORT``."""

    title = "Kafka"
    port_names = ("broker", "controller")
    stop_seconds = 30.0

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        log: Path | None = None,
        overrides: dict[str, str] | None = None,
        heap_mb: int = 512,
        jars: JarCache | None = None,
    ) -> None:
        """``port`` is the broker's (by default the last one, or any free one); ``overrides`` are broker
        settings by Kafka's names; ``log`` is by default ``kafka.log`` in the data folder."""
        super().__init__(data_dir, port=port, log=log or data_dir / "kafka.log")
        self._overrides = dict(overrides or {})
        self._heap_mb = heap_mb
        self._jars = jars or JarCache()
        self._folder = Path()

    async def _prepare(self) -> None:
        """The first start of all downloads the jars."""
        self._folder = await asyncio.to_thread(self._jars.fetch, load_program("kafka"))

    def _address(self, ports: Mapping[str, int]) -> str:
        return f"{HOST}:{ports['broker']}"

    async def _launch(self, ports: Mapping[str, int], lock: int) -> None:
        folder = self._folder
        properties = self.data_dir / "server.properties"
        properties.write_text(self._properties(ports))
        if not (self.data_dir / "log" / "meta.properties").exists():
            arguments = ["format", "-t", new_cluster_id(), "-c", str(properties)]
            command = java_command(folder, "kafka.tools.StorageTool", arguments, heap_mb=128, options=LOGGING)
            formatting = ChildProcess("Kafka's StorageTool", command, self.log)
            formatting.start(inherit=[lock])
            if await formatting.wait() != 0:
                raise LocalServerError(f"Kafka can't format {self.data_dir}:\n{formatting.log_tail()}")
        command = java_command(
            folder, "kafka.Kafka", [str(properties)], heap_mb=self._heap_mb, options=LOGGING
        )
        self._process = ChildProcess("Kafka", command, self.log)
        self._process.start(inherit=[lock])
        await self._process.wait_until(lambda: broker_answers(ports["broker"]), patience=READY_SECONDS)

    def _properties(self, ports: Mapping[str, int]) -> str:
        settings = {
            **BROKER_SETTINGS,
            "listeners": f"BROKER://{HOST}:{ports['broker']},CONTROLLER://{HOST}:{ports['controller']}",
            "advertised.listeners": f"BROKER://{HOST}:{ports['broker']}",
            "controller.quorum.voters": f"{NODE_ID}@{HOST}:{ports['controller']}",
            "log.dirs": str((self.data_dir / "log").absolute()),
            **self._overrides,
        }
        # Java's properties format: a backslash escapes.
        return "".join(f"{name}={value}\n" for name, value in settings.items()).replace("\\", "\\\\")


def new_cluster_id() -> str:
    """A cluster id as Kafka makes them: a random UUID, URL-safe Base64 without padding, no leading dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        pass
    return text


async def broker_answers(port: int) -> bool:
    """Whether the broker on this port of 127.0.0.1 gives its metadata and has a controller."""
    if not await accepts_connections(port):
        return False
    # One client a try: a client that was refused once waits ever longer before it tries again.
    admin = AdminClient({"bootstrap.servers": f"{HOST}:{port}", "log_level": 0}, logger=silent)
    try:
        described = await asyncio.to_thread(admin.list_topics, timeout=2)
    except KafkaException:
        return False
    return NODE_ID in described.brokers


async def accepts_connections(port: int) -> bool:
    """Whether something listens on this port of 127.0.0.1."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True
