"""A deployment's topics on the tests' broker, filled as producers, workers and tracker would fill them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from messaging import clients, topics
from messaging.names import Names, SinkKind
from messaging.partitioner import partition_for
from messaging.polling import poll
from messaging.transactions import TransactionalPublisher
from schemas.backfill import Backfill
from schemas.deadletter import DeadLetter
from schemas.job_specs import JobSpec
from schemas.job_status import JobStatus, Status
from schemas.records import record_event, record_head, sync_event
from schemas.settings import Settings

PARTITIONS = 3
WAIT_SECONDS = 60
REV = "3l3qo2vutsw2b"
CID = "bafyreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


class Sent(NamedTuple):
    """A row as the tests know it."""

    did: str
    key: str
    rev: str


class Deployment:
    """Topics under one prefix, and what the other parts of skyfill would write there."""

    def __init__(
        self, bootstrap_servers: str, prefix: str, *, dynamodb: str | None = None, **sink: Any
    ) -> None:
        """`sink`: SinkSettings; flushes come quickly unless they say otherwise."""
        self.settings = Settings.model_validate(
            {
                "kafka": {
                    "bootstrap_servers": bootstrap_servers,
                    "topic_prefix": prefix,
                    "partitions": {
                        "dids": 1,
                        "records": PARTITIONS,
                        "outcomes": 1,
                        "deadletter": 1,
                        "repos": 1,
                    },
                    "session_timeout_seconds": 3,
                },
                "dynamodb": {"endpoint_url": dynamodb},
                "sink": {"flush_seconds": 0.2} | sink,
            }
        )
        self.names = Names(prefix)
        self.admin = clients.admin(self.settings.kafka)
        topics.create_topics(clients.admin(self.settings.kafka), self.settings.kafka)
        counts = {topic.name: topic.partitions for topic in topics.topics(self.settings.kafka)}
        self._producer = clients.transactional_producer(self.settings.kafka, f"{prefix}feed")
        self.publisher = TransactionalPublisher(self._producer, counts)
        self.publisher.open()

    def start_job(self, job: str, *storage: dict[str, Any]) -> None:
        """What the planner writes before the first task."""
        document = {"source": {"type": "inline", "dids": ["did:plc:x"]}, "storage": list(storage)}
        spec = JobSpec(job_id=job, backfill=Backfill.model_validate(document), submitted_at=datetime.now(UTC))
        self.publisher.publish(self.names.job_specs, job, spec.encode())
        self.publisher.commit()

    def end_job(self, job: str, status: Status = "complete") -> None:
        """What the tracker writes at the end."""
        said = JobStatus(job_id=job, status=status, updated_at=datetime.now(UTC))
        self.publisher.publish(self.names.job_status, job, said.encode())
        self.publisher.commit()

    def send(
        self,
        job: str,
        dids: Iterable[str],
        rows: int,
        *,
        rev: str = REV,
        record: dict[str, Any] | None = None,
        abort: bool = False,
    ) -> list[Sent]:
        """Repositories of `rows` records, in one transaction that is aborted if `abort`."""
        sent = []
        for did in dids:
            now = time.time_ns() // 1000
            head = record_head(did, now, job, "commit", rev)
            keys = [("app.bsky.feed.post", f"{i:013}") for i in range(rows)]
            body = record or {
                "$type": "app.bsky.feed.post",
                "text": "hi",
                "createdAt": "2024-02-03T04:05:06Z",
            }
            values = [record_event(head, *key, CID, orjson.dumps(body)) for key in keys]
            values.append(sync_event(did, now, job, rev, rows, "all"))
            self.publisher.publish_all(self.names.records, did, values)
            sent += [Sent(did, "/".join(key), rev) for key in keys]
        if abort:
            self._producer.flush()  # they shall lie in the log
            self.publisher.abort()
            return []
        self.publisher.commit()
        return sent

    def send_raw(self, did: str, *values: bytes) -> None:
        """Messages of records as they are."""
        self.publisher.publish_all(self.names.records, did, values)
        self.publisher.commit()

    def partition(self, did: str) -> int:
        """Where an account's rows are."""
        return partition_for(did, PARTITIONS)

    def is_drained(self, kind: SinkKind) -> bool:
        """Whether the sink has committed the end of every partition, of all that was written: right after a
        commit its markers are still on their way, and the end of what is committed lies before its rows."""
        ends = topics.end_offsets(self.admin, self.names.records, range(PARTITIONS), committed=False)
        group = self.names.sink_group(kind)
        return topics.committed_offsets(self.admin, group, self.names.records, range(PARTITIONS)) == ends

    def committed_rows(self, kind: SinkKind) -> bool:
        """Whether the sink has committed all but the markers behind the last rows."""
        ends = topics.end_offsets(self.admin, self.names.records, range(PARTITIONS))
        group = self.names.sink_group(kind)
        committed = topics.committed_offsets(self.admin, group, self.names.records, range(PARTITIONS))
        return all(ends[partition] - committed[partition] <= 2 for partition in ends)

    def metadata(self, kind: SinkKind) -> list[str]:
        """What the sink has noted beside its committed offsets."""
        places = [TopicPartition(self.names.records, partition) for partition in range(PARTITIONS)]
        wanted = ConsumerGroupTopicPartitions(self.names.sink_group(kind), places)
        (future,) = self.admin.list_consumer_group_offsets([wanted]).values()
        return [place.metadata or "" for place in future.result(30).topic_partitions]

    def drain(self, kind: SinkKind, alive: Callable[[], bool] = lambda: True) -> None:
        """Waits until the sink has drained; `alive` raises if it ended."""
        wait_until(lambda: alive() and self.is_drained(kind))

    def dead_letters(self) -> list[DeadLetter]:
        """All that were committed."""
        reader = clients.reader(self.settings.kafka)
        reader.assign([TopicPartition(self.names.deadletter, 0, 0)])
        found: list[DeadLetter] = []
        ends: dict[tuple[str, int], int] = {}
        while not ends:
            messages, ends = poll(reader, 100, 0.2)
            found += [DeadLetter.decode(message.value or b"") for message in messages]
        reader.close()
        return found

    @contextmanager
    def running(self, run: Callable[[Settings, threading.Event], None]) -> Iterator[Callable[[], bool]]:
        """A sink in a thread; told to stop at the end. Gives a function that raises what ended it early."""
        stop, errors = threading.Event(), list[BaseException]()
        # A machine that stalls may cost a process its place, but this one is the tests' own.
        kafka = self.settings.kafka.model_copy(update={"session_timeout_seconds": 30})
        patient = self.settings.model_copy(update={"kafka": kafka})

        def work() -> None:
            try:
                run(patient, stop)
            except BaseException as error:
                errors.append(error)

        def alive() -> bool:
            if errors:
                raise errors[0]
            return True

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield alive
        finally:
            stop.set()
            thread.join(30)
        alive()
        assert not thread.is_alive()


def wait_until(done: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Returns when `done()` is true; fails after a time that only a hung test takes."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


def accounts(count: int, prefix: str = "a") -> Sequence[str]:
    """DIDs that lie on all partitions."""
    return [f"did:plc:{prefix}{i:05}" for i in range(count)]
