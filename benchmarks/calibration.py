"""The floor: SHA-256 of every block and librdkafka's produce of every message, and nothing else.

Nobody who verifies and publishes these records can need less CPU. Machines, and one machine's good and bad
minutes, differ; so every result is told as a ratio to a floor taken right before it.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from atp.car import Car
from benchmarks.events import AccountEvents, events_of
from benchmarks.measure import Meter
from benchmarks.stage import Scene, Stage
from messaging import clients
from messaging.partitioner import partition_for
from schemas.errors import LocalServerError

_MOST_REPOSITORIES = 200
_POLL_EVERY = 500
_GOES = 3
_MICRO = 1e6


class Calibration:
    """Life: made, `run` before each scenario, `as_json` at the end."""

    def __init__(self, stage: Stage) -> None:
        """Holds the blocks and messages of up to 200 repositories in memory, about 100 MB."""
        self._scene: Scene = stage.scene("calibration")
        self._broker = stage.broker.pid
        self._sample: list[tuple[list[bytes], AccountEvents]] = []
        spec = self._scene.job({"type": "parquet", "path": "unused"})
        for number in range(min(_MOST_REPOSITORIES, stage.repositories.count)):
            car = Car(stage.repositories.car(number))
            blocks = [car.data(block) for block in range(len(car))]
            self._sample.append((blocks, events_of(stage.repositories, number, spec)))
        self._records = sum(len(events.records) for _, events in self._sample)
        self._runs: list[dict[str, float]] = []

    def run(self) -> float:
        """The least of three goes, since noise only ever adds; CPU microseconds a record."""
        goes = [self._go() for _ in range(_GOES)]
        self._runs.append(min(goes, key=lambda go: go["cpu_us_per_record"]))
        return self._runs[-1]["cpu_us_per_record"]

    def as_json(self) -> dict[str, Any]:
        """The median run, and all of them in the order of the scenarios."""
        ordered = sorted(self._runs, key=lambda run: run["cpu_us_per_record"])
        return {"records": self._records, **ordered[len(ordered) // 2], "runs": self._runs}

    def _go(self) -> dict[str, float]:
        meter = Meter({"broker": self._broker})
        started = time.process_time()
        for blocks, _ in self._sample:
            for block in blocks:
                hashlib.sha256(block).digest()
        hashed = time.process_time()
        self._produce()
        produced = time.process_time()
        broker = meter.read().usage["broker"].cpu_seconds
        per_record = _MICRO / self._records
        return {
            "cpu_us_per_record": (produced - started) * per_record,
            "sha256_us_per_record": (hashed - started) * per_record,
            "produce_us_per_record": (produced - hashed) * per_record,
            "broker_cpu_us_per_record": broker * per_record,
        }

    def _produce(self) -> None:
        topic = self._scene.names.records
        producer = clients.producer(self._scene.kafka)
        sent = 0
        for _, events in self._sample:
            partition, key = partition_for(events.did, self._scene.partitions[topic]), events.did.encode()
            for event in events.records:
                while True:
                    try:
                        producer.produce(topic, event, key, partition)
                        break
                    except BufferError:
                        producer.poll(0.05)
                sent += 1
                if sent % _POLL_EVERY == 0:
                    producer.poll(0)
        if producer.flush(60):
            raise LocalServerError("the broker did not take the calibration's messages; its log says why")
