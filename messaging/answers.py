"""The planner's answers to commands, for whoever sent them and waits."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from confluent_kafka import TopicPartition
from pydantic import ValidationError

from messaging import clients
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.polling import poll
from messaging.topics import end_offsets
from schemas.outcomes import JobEvent, decode_outcome
from schemas.settings import KafkaSettings


class Answers:
    """Life: made before the commands are sent, then `wait` for their answers; `close`."""

    def __init__(self, kafka: KafkaSettings, job_ids: Iterable[str]) -> None:
        """Of commands about these jobs. DeploymentError if the broker does not answer."""
        topic = Names(kafka.topic_prefix).outcomes
        partitions = {partition_for(job_id, kafka.partitions.outcomes) for job_id in job_ids}
        ends = end_offsets(clients.admin(kafka), topic, partitions, committed=False)
        self._consumer = clients.reader(kafka)
        self._consumer.assign([TopicPartition(topic, partition, end) for partition, end in ends.items()])
        self._found: dict[int, JobEvent] = {}

    def wait(self, commands: Collection[int], seconds: float) -> dict[int, JobEvent]:
        """What was answered to commands, by their offsets, once all are answered or after so many seconds.

        Asked again, it goes on where it was.
        """
        deadline = time.monotonic() + seconds
        while not self._found.keys() >= set(commands) and time.monotonic() < deadline:
            for message in poll(self._consumer, 1000, 0.2).messages:
                try:
                    outcome = decode_outcome(message.value or b"")
                except ValidationError:
                    continue
                if not isinstance(outcome, JobEvent) or outcome.event == "resumed":
                    continue  # a job that is resumed by a replay is so beside its answer
                if outcome.command is not None and outcome.command in commands:
                    self._found[outcome.command] = outcome
        return self._found

    def close(self) -> None:
        """Leaves the topic."""
        self._consumer.close()
