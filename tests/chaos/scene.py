"""Where a campaign takes place: a simulated network, an embedded broker, DynamoDB Local, and a deployment
whose processes can be struck. Everything under one folder; nothing outlives the `async with`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from local.deployment import Deployment
from local.dynamodb import EmbeddedDynamoDB
from local.kafka import EmbeddedKafka
from local.network.faults import (
    Corrupted,
    CutShort,
    Fault,
    Incomplete,
    InvalidRecord,
    Moved,
    RotatedKey,
    ServerError,
    Tombstoned,
    Unavailable,
)
from local.network.network import Network
from local.supervisor import Role, Running
from messaging.control import send_command
from messaging.names import SINK_KINDS
from schemas.backfill import Backfill
from schemas.jobs import JobMessage
from schemas.settings import (
    DynamoDBSettings,
    KafkaSettings,
    MetricsSettings,
    NetworkSettings,
    Partitions,
    PlannerSettings,
    Settings,
    SinkSettings,
)
from tests.chaos.orders import Orders
from tests.chaos.plan import SPARED

JOB = "chaos"
PREFIX = "chaos."
TABLE = "chaos"
SESSION_SECONDS = 5.0
# The broker refuses sessions under six seconds unless told otherwise.
_BROKER = {"group.min.session.timeout.ms": "1000"}
_PARTITIONS = Partitions(dids=8, records=4, outcomes=2, deadletter=1, repos=1)


@dataclass(frozen=True)
class Size:
    """How large a campaign is."""

    accounts: int
    records: int
    """Of an account, in the mean."""
    hosts: int
    workers: int
    chunk: int
    """Accounts that the planner publishes in one transaction."""


@dataclass
class Scene:
    """A running deployment, and all that it runs on."""

    folder: Path
    size: Size
    settings: Settings
    network: Network
    fetched_again: frozenset[int]
    """Numbers of the accounts that are downloaded whole more than once for a fault of their own."""
    kafka: EmbeddedKafka
    deployment: Deployment
    orders: Orders

    @property
    def parquet(self) -> Path:
        """The folder that the job's files go to."""
        return self.folder / "parquet"

    @property
    def running(self) -> Sequence[Running]:
        """The supervised processes."""
        assert self.deployment.supervisor is not None
        return self.deployment.supervisor.running

    def process(self, name: str) -> Running:
        """One of them."""
        return next(one for one in self.running if one.role.name == name)

    async def restart_broker(self) -> float:
        """SIGKILL to the broker, and a new one over the same data at the same port; the seconds it took."""
        began = time.monotonic()
        assert self.kafka.process is not None
        self.kafka.process.kill()
        await self.kafka.process.wait()
        await self.kafka.start()
        return time.monotonic() - began

    def submit(self) -> None:
        """The one job: all accounts, into both stores."""
        backfill = Backfill.model_validate(
            {
                "name": JOB,
                "source": {"type": "inline", "dids": list(self.network.dids)},
                "processing": {
                    "batch_size": self.size.chunk,
                    "requests_per_second": 200,
                    "max_concurrent_per_pds": 1,  # so that slow hosts slow the job down
                    # A download that a kill cut off spends none; these are for the network's own faults.
                    "max_retries": 3,
                },
                "storage": [
                    {"type": "parquet", "path": str(self.parquet)},
                    {"type": "dynamodb", "table_name": TABLE},
                ],
                "monitoring": {"alert_on_failure": False},
            }
        )
        document = backfill.model_dump(mode="json")
        send_command(self.settings.kafka, JOB, JobMessage(action="start", backfill=document))


@asynccontextmanager
async def scene(folder: Path, size: Size, seed: int) -> AsyncIterator[Scene]:
    """Everything started, until the block ends. Raises LocalServerError, DeploymentError."""
    faults = faults_of(size.accounts, size.hosts)
    network = Network(
        seed=seed, accounts=size.accounts, hosts=size.hosts, records=size.records, faults=faults, spread=0.8
    )
    await network.warm()
    kafka = EmbeddedKafka(folder / "kafka", overrides=_BROKER)
    dynamodb = EmbeddedDynamoDB(folder / "dynamodb", in_memory=True, heap_mb=512)
    deployment: Deployment | None = None
    try:
        await network.start()
        settings = _settings(folder, await kafka.start(), await dynamodb.start(), network.plc_url)
        (orders := folder / "orders").mkdir()
        (file := folder / "settings.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
        deployment = Deployment(
            settings,
            workers=size.workers,
            sinks=SINK_KINDS,
            local_dynamodb="memory",  # it is there already: missing tables are made
            gives_up=False,
            staffed=lambda roles: victims(roles, orders, file),
        )
        await deployment.start_servers()
        deployment.start_processes()
        again = frozenset(fault.account for fault in faults if isinstance(fault, Corrupted | RotatedKey))
        yield Scene(folder, size, settings, network, again, kafka, deployment, Orders(orders))
    finally:
        if deployment is not None:
            await deployment.stop()
        await dynamodb.stop()
        await kafka.stop()
        await network.stop()


def victims(roles: Sequence[Role], orders: Path, settings: Path) -> list[Role]:
    """The same processes with points to be struck at, and a second one of each kind that needs a spare."""
    made = []
    for role in roles:
        kind, _, number = role.name.rpartition("-")
        if not number.isdecimal():
            kind, number = role.name, "0"
        for slot in (0, 1) if kind in SPARED else (int(number),):
            name = f"{kind}-{slot}"
            address = kind if kind in SPARED else name
            skyfill = list(role.command)[list(role.command).index("cli") + 1 :]
            command = [sys.executable, "-m", "tests.chaos.process", name, address, str(orders), "--"]
            command += ["--settings", str(settings), *skyfill]
            made.append(replace(role, name=name, command=command, slot=slot))
    return made


def faults_of(accounts: int, hosts: int) -> list[Fault]:
    """Every way for an account to end, and some that only cost another attempt."""
    step = max(1, accounts // 40)
    numbers = iter(range(step, accounts, step))
    faults: list[Fault] = []
    for state in ("takendown", "suspended", "deactivated", "not_found"):
        faults.append(Unavailable(next(numbers), state))
    faults += [Tombstoned(next(numbers)), Incomplete(next(numbers), "pds"), Incomplete(next(numbers), "key")]
    for stale in (0, 1, 1):
        moving = next(numbers)
        faults.append(Moved(moving, to_host=(moving + 1) % hosts, stale_answers=stale))
    faults += [Corrupted(next(numbers)), Corrupted(next(numbers), "wrong_signature")]
    faults += [Corrupted(next(numbers), "missing_block", first=1), RotatedKey(next(numbers))]
    faults += [InvalidRecord(next(numbers)), InvalidRecord(next(numbers))]
    faults += [CutShort(account=next(numbers), first=1), CutShort(account=next(numbers), first=2)]
    faults += [ServerError(account=next(numbers), first=1), ServerError(account=next(numbers), first=2)]
    return faults


def _settings(folder: Path, kafka: str, dynamodb: str, plc_url: str) -> Settings:
    """Short sessions and transactions, small files, a planner that never runs far ahead."""
    return Settings(
        data_dir=folder / "data",
        kafka=KafkaSettings(
            bootstrap_servers=kafka,
            topic_prefix=PREFIX,
            partitions=_PARTITIONS,
            session_timeout_seconds=SESSION_SECONDS,
            transaction_timeout_seconds=10,
            commit_interval_seconds=0.4,
        ),
        network=NetworkSettings(plc_url=plc_url, allow_private_hosts=True),
        dynamodb=DynamoDBSettings(endpoint_url=dynamodb),
        metrics=MetricsSettings(port=None),
        sink=SinkSettings(flush_seconds=2),
        planner=PlannerSettings(tasks_per_partition=2),
    )
