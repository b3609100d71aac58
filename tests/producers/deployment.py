"""A planner's surroundings: real topics on a real broker, and a directory of accounts kept in memory."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import orjson
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from atp.identity import Identity
from messaging import clients
from messaging.names import Names
from messaging.polling import poll
from messaging.topics import create_topics, end_offsets
from producers.planner import Planner
from producers.resolve import Resolves
from schemas.dids import DidTask
from schemas.errors import IdentityNotFound
from schemas.job_status import Counts, JobStatus
from schemas.message import Message
from schemas.outcomes import JobEvent, PlanOutcome, RepoOutcome, decode_outcome
from schemas.settings import (
    KafkaSettings,
    NetworkSettings,
    Partitions,
    PlannerSettings,
    Settings,
    WorkerSettings,
)

T = TypeVar("T")
KEY = "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"


def did(number: int) -> str:
    """A DID whose host `Book` knows: accounts are dealt out to hosts in turn."""
    return f"did:plc:{number:024d}".replace("0", "a").replace("1", "b").replace("8", "w").replace("9", "x")


@dataclass
class Book:
    """A directory: every did:plc has a PDS, chosen by its number, unless `answers` says otherwise."""

    answers: dict[str, Identity | Exception] = field(default_factory=dict)
    hosts: int = 3
    seconds: float = 0.0
    gate: Callable[[], bool] = lambda: True
    knows_all: bool = False
    asked: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def resolve(self, did_or_handle: str, *, fresh: bool = False) -> Identity:
        self.asked.append(did_or_handle)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
            while not self.gate():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        finally:
            self.at_once -= 1
        answer = self.answers.get(did_or_handle)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        if not did_or_handle.startswith("did:plc:"):
            raise IdentityNotFound(f"there is no {did_or_handle}")
        return self.identity(did_or_handle)

    def identity(self, did: str) -> Identity:
        """Whose this did:plc is, unless `answers` says otherwise."""
        return Identity(did, None, f"https://h{hash_of(did) % self.hosts}.example", KEY)

    def known(self, names: Collection[str]) -> dict[str, Identity]:
        return {name: self.identity(name) for name in names if self.knows_all and name.startswith("did:plc:")}


def hash_of(text: str) -> int:
    return sum(text.encode())


class Ended(Exception):
    """The planner wanted its process to end."""


def end(reason: str) -> NoReturn:
    raise Ended(reason)


class Deployment:
    """Topics under one prefix, with what a test says and reads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.names = Names(settings.kafka.topic_prefix)
        self.admin = clients.admin(settings.kafka)
        self._producer = clients.producer(settings.kafka)

    def close(self) -> None:
        """Gives the clients up while the broker is still there: they may hang without it."""
        del self.admin, self._producer

    def document(self, dids: list[str] | None = None, **sections: Any) -> dict[str, Any]:
        """What stands below `backfill:`, for accounts in the document unless `source` says otherwise."""
        return {
            "source": {"type": "inline", "dids": dids or [did(1)]},
            "storage": [{"type": "parquet", "path": "out"}],
        } | sections

    def say(self, key: str | None, value: dict[str, Any] | bytes | None) -> None:
        """A message of `jobs`, from a client that knows nothing of skyfill."""
        text = orjson.dumps(value) if isinstance(value, dict) else value
        self._producer.produce(self.names.jobs, text, key.encode() if key is not None else None)
        assert self._producer.flush(30) == 0

    def start(self, key: str, dids: list[str], **sections: Any) -> None:
        self.say(key, {"backfill": self.document(dids, **sections)})

    def status(self, job_id: str, *, total: int, completed: int, status: Any = "processing") -> None:
        """What the tracker would say."""
        said = JobStatus(
            job_id=job_id,
            status=status,
            total=total,
            totals=Counts(completed=completed),
            updated_at="2026-01-01T00:00:00Z",
        )
        self._producer.produce(self.names.job_status, said.encode(), job_id.encode())
        assert self._producer.flush(30) == 0

    def tell(self, topic: str, key: str, *messages: Message) -> None:
        """Messages of another process."""
        for message in messages:
            self._producer.produce(topic, message.encode(), key.encode())
        assert self._producer.flush(30) == 0

    def read(self, topic: str) -> list[tuple[str, bytes | None]]:
        """Key and value of all that is committed now."""
        consumer = clients.reader(self.settings.kafka)
        partitions = self.admin.list_topics(topic, timeout=30).topics[topic].partitions
        ends = end_offsets(self.admin, topic, partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
        found, behind = [], {partition for partition, end in ends.items() if end > 0}
        while behind:
            polled = poll(consumer, 1000, 0.2)
            found += [(message.key, message.value) for message in polled.messages]
            behind -= {partition for (_, partition), at in polled.ends.items() if at >= ends[partition]}
        consumer.close()
        return found

    def tasks(self, job_id: str | None = None) -> list[DidTask]:
        tasks = [DidTask.decode(value or b"") for _, value in self.read(self.names.dids)]
        return [task for task in tasks if job_id in (None, task.job_id)]

    def outcomes(self) -> list[RepoOutcome | PlanOutcome | JobEvent]:
        return [decode_outcome(value or b"") for _, value in self.read(self.names.outcomes)]

    def events(self, job_id: str) -> list[str]:
        return [o.event for o in self.outcomes() if isinstance(o, JobEvent) and o.job_id == job_id]

    def planned(self, job_id: str) -> PlanOutcome:
        """The plan's last figures; zeros before the first."""
        found = [o for o in self.outcomes() if isinstance(o, PlanOutcome) and o.job_id == job_id]
        last = found[-1] if found else PlanOutcome(job_id=job_id, planned=0)
        return last.model_copy(update={"hosts": {}, "resolved": {}})  # which are of its chunk alone

    def workers_commit(self, offsets: dict[int, int]) -> None:
        """What workers that finished all tasks below `offsets` would have committed."""
        group = self.names.worker_group
        places = [TopicPartition(self.names.dids, partition, at) for partition, at in offsets.items()]
        request = [ConsumerGroupTopicPartitions(group, places)]
        self.admin.alter_consumer_group_offsets(request)[group].result(30)

    def plan(self, book: Resolves, **arguments: Any) -> Planner:
        """Plans here and now until all that was submitted is planned; returns the closed planner."""
        with self.planner(book, **arguments) as planner:
            planner.run(threading.Event(), until_planned=True)
            return planner

    @contextmanager
    def planner(self, book: Resolves, **arguments: Any) -> Iterator[Planner]:
        with asyncio.Runner() as runner:
            planner = Planner(self.settings, book, runner, self.admin, end=end, **arguments)
            try:
                yield planner
            finally:
                planner.close()

    @contextmanager
    def running(self, book: Resolves, **arguments: Any) -> Iterator[Planner]:
        """A planner in a thread of its own, until the block ends."""
        stop, made, failed = threading.Event(), [], []

        def live() -> None:
            try:
                with self.planner(book, **arguments) as planner:
                    made.append(planner)
                    planner.run(stop)
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=live)
        thread.start()
        try:
            until(lambda: made or failed)
            yield made[0]
        finally:
            stop.set()
            thread.join()
        assert not failed, failed


def deploy(
    kafka: str, prefix: str, data_dir: Path, *, dids: int = 4, window: int = 20_000, **planner: int
) -> Deployment:
    """Topics under `prefix`, `dids` partitions of tasks; `window` is what workers read ahead of them, and
    `planner` are settings of that group."""
    settings = Settings(
        data_dir=data_dir,
        kafka=KafkaSettings(
            bootstrap_servers=kafka,
            topic_prefix=prefix,
            session_timeout_seconds=3,
            partitions=Partitions(dids=dids, records=1, outcomes=1, deadletter=1, repos=1),
        ),
        network=NetworkSettings(plc_concurrency=8),
        planner=PlannerSettings.model_validate(planner),
        worker=WorkerSettings(window_tasks=window),
    )
    deployment = Deployment(settings)
    create_topics(clients.admin(settings.kafka), settings.kafka)
    return deployment


def until(holds: Callable[[], T], seconds: float = 90.0) -> T:
    """Waits for what another thread or process does."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found
