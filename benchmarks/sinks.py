"""A sink alone: from rows that become visible all at once to everything stored and committed.

The rows are written in one transaction while the sink waits, so that neither its start nor the writing falls
into what is measured.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Producer

from benchmarks.events import events_of
from benchmarks.measure import Meter, Reading
from benchmarks.repositories import Repositories
from benchmarks.stage import Scene, Stage
from local.process import ChildProcess
from messaging import clients
from messaging.names import SinkKind
from messaging.transactions import TransactionalPublisher
from schemas.errors import LocalServerError
from schemas.job_specs import JobSpec
from schemas.job_status import JobStatus

_TRANSACTION_SECONDS = 900.0
_FLUSH_SECONDS = 120.0


def store(
    stage: Stage,
    scene: Scene,
    kind: SinkKind,
    storage: dict[str, Any],
    repositories: int,
    beside: dict[str, ChildProcess] | None = None,
) -> Reading:
    """The reading of `sink`, `broker` and whatever runs beside, over the first so many repositories."""
    names = scene.names
    spec = scene.job(storage)
    # A job that has ended: the sink stores what is left at the end of a partition without waiting for more.
    ended = JobStatus(job_id=spec.job_id, status="complete", updated_at=datetime.now(UTC))
    scene.publish(names.job_status, [(spec.job_id, ended)])
    processes = {"broker": stage.broker} | (beside or {})
    with scene.process(f"sink-{kind}", "sink", kind, "--slot", "0") as sink:
        scene.await_rest(sink, names.sink_group(kind), names.records)
        producer = clients.transactional_producer(
            scene.kafka, f"{scene.kafka.topic_prefix}fill", timeout_seconds=_TRANSACTION_SECONDS
        )
        publisher = TransactionalPublisher(producer, scene.partitions)
        publisher.open()
        _fill(scene, publisher, producer, spec, stage.repositories, repositories)
        meter = Meter({name: process.pid for name, process in (processes | {"sink": sink}).items()})
        publisher.commit()
        scene.await_caught_up(sink, names.sink_group(kind), names.records)
        return meter.read()


def _fill(
    scene: Scene,
    publisher: TransactionalPublisher,
    producer: Producer,
    spec: JobSpec,
    source: Repositories,
    repositories: int,
) -> None:
    """Everything at the broker, nothing visible yet."""
    for number in range(repositories):
        events = events_of(source, number, spec)
        publisher.publish_all(scene.names.records, events.did, events.records)
        publisher.publish(scene.names.records, events.did, events.marker)
    if producer.flush(_FLUSH_SECONDS):
        raise LocalServerError("the broker did not take all rows; its log says why")
