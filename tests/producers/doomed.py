"""A planner in a process of its own that kills itself, or stops, at one point of its life.

    python -m tests.producers.doomed settings.json POINT [TIME]

POINT is `never`, or `{moment}:{signal}:{chunk}` with the moments `tasks` (some of the chunk's tasks are
published, its checkpoint is not), `commit` (all is published and not committed) and `after` (committed), or
`cancel` and `cancelled`: right before and after the commit by which a job is cancelled; `run` and `ran`: that
by which a schedule's run is started. TIME is what its clock says.
Accounts are resolved by a book in memory, or over the network where private hosts are allowed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from messaging import clients
from messaging.names import Names
from messaging.transactions import TransactionalPublisher
from producers.metrics import PlannerMetrics
from producers.planner import Planner, open_publisher
from producers.run import new_resolver
from schemas.settings import KafkaSettings, Settings
from tests.producers.deployment import Book

TASKS_BEFORE_THE_END = 3


class Doomed:
    """A publisher that goes no further than it should."""

    def __init__(self, inner: TransactionalPublisher, names: Names, point: str) -> None:
        self._inner, self._names = inner, names
        self._moment, _, rest = point.partition(":")
        self._signal, _, chunk = rest.partition(":")
        self._chunk = int(chunk or 0)
        self._chunks = self._tasks = 0
        self._cancels = self._runs = False

    def open(self) -> None:
        self._inner.open()

    def publish(self, topic: str, key: str, value: bytes | None) -> None:
        if topic == self._names.dids:
            self._chunks += self._tasks == 0
            self._tasks += 1
            if self._tasks == TASKS_BEFORE_THE_END:
                self._reach("tasks")
        self._cancels |= topic == self._names.job_specs and b'"state":"cancelled"' in (value or b"")
        self._runs |= topic == self._names.plans and b'"run":' in (value or b"")
        self._inner.publish(topic, key, value)

    def commit(self, offsets: Sequence[TopicPartition] = (), consumer: Consumer | None = None) -> None:
        if self._tasks:
            self._reach("commit")
        if self._cancels:
            self._reach("cancel")
        if self._runs:
            self._reach("run")
        self._inner.commit(offsets, consumer)
        if self._tasks:
            self._reach("after")
        if self._cancels:
            self._reach("cancelled")
        if self._runs:
            self._reach("ran")
        self._tasks, self._cancels, self._runs = 0, False, False

    def _reach(self, moment: str) -> None:
        if moment == self._moment and self._chunk in (0, self._chunks):
            self._chunk = -1
            if moment not in ("after", "cancelled", "ran"):
                self._inner._producer.flush(10)  # the broker has it all: only the transaction keeps it unseen
            os.kill(os.getpid(), signal.Signals[self._signal])


def main(settings_file: str, point: str, time: str | None = None) -> None:
    def now() -> datetime:
        return datetime.fromisoformat(time) if time else datetime.now(UTC)

    settings = Settings.model_validate_json(Path(settings_file).read_text("utf-8"))
    names = Names(settings.kafka.topic_prefix)

    def publisher(kafka: KafkaSettings) -> TransactionalPublisher:
        return Doomed(open_publisher(kafka), names, point)  # type: ignore[return-value]

    with asyncio.Runner() as runner:
        admin = clients.admin(settings.kafka)
        client, resolver = runner.run(new_resolver(settings.network, PlannerMetrics()))
        book = resolver if settings.network.allow_private_hosts else Book()
        planner = Planner(settings, book, runner, admin, client=client, new_publisher=publisher, now=now)
        planner.run(threading.Event(), until_planned=True)
        planner.close()
        runner.run(client.close())


if __name__ == "__main__":
    main(*sys.argv[1:])
