"""What a client does with a deployment: send commands, read the status of jobs, ask how far sinks are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaException

from messaging import clients
from messaging.names import Names, SinkKind
from messaging.partitioner import partition_for
from messaging.topics import committed_offsets, end_offsets
from messaging.views import CompactedView
from schemas.errors import DeploymentError
from schemas.job_specs import JobSpec
from schemas.job_status import JobHost, JobStatus, job_of
from schemas.jobs import JobMessage
from schemas.replays import Replay
from schemas.settings import KafkaSettings

_SEND_SECONDS = 30.0


def send_command(kafka: KafkaSettings, job_id: str, command: JobMessage) -> int:
    """Publishes a command about a job; its offset. DeploymentError if the broker does not take it."""
    return send_commands(kafka, [(job_id, command)])[0]


def send_commands(kafka: KafkaSettings, commands: Iterable[tuple[str, JobMessage]]) -> list[int]:
    """Publishes commands about jobs in their order; the offset of each.

    Raises DeploymentError if the broker does not take one of them: those before it are sent.
    """
    offsets: list[int] = []
    client = clients.producer(kafka)
    topic = Names(kafka.topic_prefix).jobs
    for job_id, command in commands:
        refused: list[str] = []

        def delivered(error: Any, message: Any, refused: list[str] = refused) -> None:
            if error:
                refused.append(error.str())
            else:
                offsets.append(message.offset())

        try:
            client.produce(
                topic, command.encode(), job_id.encode(), partition_for(job_id, 1), on_delivery=delivered
            )
            left = client.flush(_SEND_SECONDS)
        except KafkaException as error:
            raise DeploymentError(f"the command could not be sent: {error.args[0].str()}") from error
        if left or refused:
            why = refused[0] if refused else f"no answer within {_SEND_SECONDS:.0f} s"
            raise DeploymentError(f"the command could not be sent to {topic}: {why}")
    return offsets


def replays_of(kafka: KafkaSettings) -> dict[str, Replay]:
    """What became of every dead letter that was replayed, by the letter's id."""
    view = CompactedView(kafka, Names(kafka.topic_prefix).replays, Replay.decode)
    try:
        view.catch_up()
        return view.items
    finally:
        view.close()


def hosts_of(kafka: KafkaSettings, job_id: str) -> dict[str, JobHost]:
    """One job's counts by host, as of now: read once, from the job's partition."""
    partition = partition_for(job_id, kafka.partitions.outcomes)
    view = CompactedView(kafka, Names(kafka.topic_prefix).job_hosts, JobHost.decode, [partition])
    try:
        view.catch_up()
        return {page.host: page for page in view.items.values() if page.job_id == job_id}
    finally:
        view.close()


def was_submitted(kafka: KafkaSettings, job_id: str) -> bool:
    """Whether the planner has taken the job in, even if the tracker has not heard of it yet."""
    specs = CompactedView(kafka, Names(kafka.topic_prefix).job_specs, JobSpec.decode)
    try:
        specs.catch_up()
        return job_id in specs.items
    finally:
        specs.close()


class StatusBoard:
    """The status of all jobs. Life: made, `refresh` now and then, `close`. For one thread."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Reads the topic to its end, so that what is missing does not exist."""
        self._view = CompactedView(kafka, Names(kafka.topic_prefix).job_status, JobStatus.decode)
        self._view.catch_up()

    def refresh(self, timeout: float = 0.0) -> None:
        """Takes in what has come, waiting up to `timeout` seconds for something."""
        self._view.poll(timeout)

    def of(self, job_id: str) -> JobStatus | None:
        """One job's status; None if the tracker has not heard of it."""
        return self._view.items.get(job_id)

    def all(self) -> list[JobStatus]:
        """Every job, the newest last."""
        return sorted(self._view.items.values(), key=lambda job: str(job.submitted_at or job.updated_at))

    def close(self) -> None:
        """Leaves the topic."""
        self._view.close()


class HostCountsBoard:
    """The counts by host of all jobs. Life: made, `refresh` now and then, `close`. For one thread."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Reads the topic to its end, so that what is missing does not exist."""
        self._view = CompactedView(kafka, Names(kafka.topic_prefix).job_hosts, JobHost.decode)
        self._view.catch_up()
        self._jobs: dict[str, dict[str, JobHost]] = {}
        self._take(self._view.items)

    def refresh(self, timeout: float = 0.0) -> None:
        """Takes in what has come, waiting up to `timeout` seconds for something."""
        self._take(self._view.poll(timeout))

    def of(self, job_id: str) -> dict[str, JobHost]:
        """One job's hosts by name; none for a job without, and for one that ended long ago."""
        return {page.host: page for page in self._jobs.get(job_id, {}).values()}

    def close(self) -> None:
        """Leaves the topic."""
        self._view.close()

    def _take(self, changed: Iterable[str]) -> None:
        for key in changed:
            job_id = job_of(key)
            if (page := self._view.items.get(key)) is not None:
                self._jobs.setdefault(job_id, {})[key] = page
            elif (pages := self._jobs.get(job_id)) is not None:
                pages.pop(key, None)
                if not pages:
                    del self._jobs[job_id]


class SinkPositions:
    """How far the sinks are with `records`."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connects at the first question."""
        self._names = Names(kafka.topic_prefix)
        self._admin = clients.admin(kafka)
        self._partitions = range(kafka.partitions.records)

    def ends(self) -> dict[int, int]:
        """The end of each partition of `records` as written so far."""
        return end_offsets(self._admin, self._names.records, self._partitions, committed=False)

    def behind(self, kind: SinkKind, ends: dict[int, int]) -> int | None:
        """Messages up to `ends` that this kind of sink has not committed; None if its place is unknown."""
        group = self._names.sink_group(kind)
        committed = committed_offsets(self._admin, group, self._names.records, self._partitions)
        if len(committed) < len(self._partitions):
            return None
        return sum(max(0, end - committed[partition]) for partition, end in ends.items())


def sink_kinds(storage_types: Iterable[str]) -> list[SinkKind]:
    """The kinds of sink that these storage types need, in a fixed order."""
    wanted = set(storage_types)
    return [kind for kind in ("parquet", "dynamodb") if kind in wanted]
