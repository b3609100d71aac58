"""A feeder that aborts now and then, and worker processes that are killed, stopped, added and removed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from messaging.crash import EXIT_CODE
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.topics import committed_offsets, create_topics, end_offsets
from schemas.settings import KafkaSettings
from tests.messaging.broker import PARTITIONS, PATIENCE, admin, eventually, read_all, transactional
from tests.messaging.errands import Errand, Orders, all_results

HOSTS = [f"https://pds{number}.example" for number in range(37)]
EXPECTED = {0, EXIT_CODE, -signal.SIGKILL, -signal.SIGTERM}
"""How a worker may end; by SIGTERM itself only before it has begun."""
SCRIPT = Path(__file__).with_name("worker.py")


class Feeder:
    """Writes errands in transactions of many sizes. What it aborts are errands that nobody may ever do."""

    def __init__(self, producer: Producer, names: Names, chance: random.Random) -> None:
        self._producer, self._names, self._chance = producer, names, chance
        self._batches = 0
        self.errands: list[Errand] = []

    def feed(self, count: int) -> None:
        """`count` errands more, in a few transactions; every fifth transaction is aborted beside them."""
        while count > 0:
            size = min(count, self._chance.randint(1, 40))
            self._batches += 1
            if self._batches % 5 == 0:
                self._write([Errand(number=-1 - i) for i in range(size)])
                self._producer.abort_transaction(30)
                continue
            count -= size
            first = len(self.errands)
            new = [Errand(number=first + i, rounds=self._chance.choice([1, 1, 2])) for i in range(size)]
            self._write(new)
            self._producer.commit_transaction(30)
            self.errands += new

    def _write(self, errands: list[Errand]) -> None:
        self._producer.begin_transaction()
        for errand in errands:
            host = self._chance.choice(HOSTS)
            partition = partition_for(host, PARTITIONS)
            self._producer.produce(self._names.dids, errand.encode(), host, partition)
        self._producer.flush(30)


class Crew:
    """Workers by slot. One that ends is started again, as a supervisor would."""

    def __init__(self, kafka: KafkaSettings, folder: Path) -> None:
        self._kafka, self._folder = kafka, folder
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.endings = Counter[int]()

    def start(self, slot: int, **orders: Any) -> subprocess.Popen[bytes]:
        """Starts a worker in a slot that is free."""
        order = Orders.model_validate({"kafka": self._kafka, "slot": slot} | orders)
        with self.log(slot).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.messaging.worker", order.encode().decode()],
                stderr=log,
                cwd=SCRIPT.parents[2],
            )
        self.processes[slot] = process
        return process

    def log(self, slot: int) -> Path:
        """What the workers of a slot said."""
        return self._folder / f"worker{slot}.log"

    def ended(self) -> list[int]:
        """Slots whose worker is gone; it may have been killed or have lost its place, and nothing else."""
        gone = [slot for slot, process in self.processes.items() if process.poll() is not None]
        for slot in gone:
            code = self.processes.pop(slot).returncode
            assert code in EXPECTED, f"exit code {code}:\n{self.log(slot).read_text()}"
            self.endings[code] += 1
        return gone

    def end_of(self, slot: int) -> int:
        """Waits for a worker that has every reason to end, and forgets it; its exit code."""
        process = self.processes[slot]
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGUSR1)  # it writes down where its threads are
            time.sleep(1)
            pytest.fail(f"worker {slot} does not end:\n{self.log(slot).read_text()}")
        del self.processes[slot]
        self.endings[code] += 1
        return code

    def dismiss(self, *slots: int) -> None:
        """Ends these with SIGTERM, or all."""
        leaving = slots or tuple(self.processes)
        for slot in leaving:
            self.processes[slot].terminate()
        for slot in leaving:
            assert self.end_of(slot) in EXPECTED, self.log(slot).read_text()

    def kill(self) -> None:
        """Leaves nobody behind."""
        for process in self.processes.values():
            process.kill()
            process.wait()


class Scene:
    """A deployment with a feeder and a crew."""

    def __init__(self, kafka: KafkaSettings, feeder: Feeder, crew: Crew) -> None:
        assert kafka.bootstrap_servers is not None
        self.kafka, self.feeder, self.crew = kafka, feeder, crew
        self.names = Names(kafka.topic_prefix)
        self.bootstrap: str = kafka.bootstrap_servers
        self.client: AdminClient = admin(self.bootstrap)

    def results(self) -> Counter[str]:
        """What a reader of committed messages sees, and how often."""
        found = read_all(self.bootstrap, self.names.records, self.kafka.partitions.records)
        return Counter(message.value or "" for message in found)

    def drained(self) -> bool:
        """Whether the group has committed the very end of both topics, and so has nothing in flight, and
        no transaction is open in what it writes.

        In this order: what `dids` still held would show in `dids.retry` before it shows as done in `dids`.
        """
        for topic in (self.names.dids, self.names.dids_retry):
            ends = end_offsets(self.client, topic, range(PARTITIONS), committed=False)
            if committed_offsets(self.client, self.names.worker_group, topic, range(PARTITIONS)) != ends:
                return False
        records, partitions = self.names.records, range(self.kafka.partitions.records)
        written = end_offsets(self.client, records, partitions, committed=False)
        return end_offsets(self.client, records, partitions) == written

    def members(self) -> dict[str, set[int]]:
        """Who is in the group now, by member id, with the partitions of `dids` given to each."""
        group = self.names.worker_group
        described = self.client.describe_consumer_groups([group])[group].result(30)
        return {m.member_id: {p.partition for p in m.assignment.topic_partitions} for m in described.members}

    def settles_exactly_once(self) -> None:
        """Waits until all is done, and then counts."""
        eventually(lambda: not self.crew_revived() and self.drained())
        seen, wanted = self.results(), all_results(self.feeder.errands)
        assert not wanted - seen, f"lost: {sorted(wanted - seen)[:20]}"
        assert not seen - wanted, f"doubled or never to be seen: {sorted(seen - wanted)[:20]}"

    def crew_revived(self) -> bool:
        """Starts again who ended, and says whether anybody did."""
        gone = self.crew.ended()
        for slot in gone:
            self.crew.start(slot)
        return bool(gone)


@contextmanager
def scene(kafka: KafkaSettings, folder: Path, seed: int) -> Iterator[Scene]:
    """Topics, a feeder and a crew without workers; at the end nobody is left."""
    assert kafka.bootstrap_servers is not None
    create_topics(admin(kafka.bootstrap_servers), kafka)
    crew = Crew(kafka, folder)
    with transactional(kafka.bootstrap_servers, f"{kafka.topic_prefix}feeder") as producer:
        try:
            yield Scene(kafka, Feeder(producer, Names(kafka.topic_prefix), random.Random(seed)), crew)
        finally:
            crew.kill()


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process was stopped by a signal."""
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def freeze(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Stops a process for a while, as a paused virtual machine would."""
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGCONT)
