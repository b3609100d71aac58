"""Deletes tasks that are done from `dids` and `dids.retry`, which Kafka itself would keep for ever."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from messaging.names import Names
from messaging.topics import committed_offsets

_log = logging.getLogger("skyfill.planner")
_TIMEOUT = 30.0


class TaskTrimmer:
    """Life: made, `trim` now and then."""

    def __init__(self, admin: AdminClient, names: Names, partitions: int) -> None:
        """`partitions` is the count of `dids`, and so of `dids.retry`."""
        self._admin, self._names, self._partitions = admin, names, partitions
        self._trimmed: dict[tuple[str, int], int] = {}

    def trim(self) -> None:
        """Deletes what lies below the workers' committed offsets. A refusal is logged: it can wait."""
        for topic in (self._names.dids, self._names.dids_retry):
            try:
                committed = committed_offsets(
                    self._admin, self._names.worker_group, topic, range(self._partitions)
                )
                fresh = [
                    TopicPartition(topic, partition, offset)
                    for partition, offset in committed.items()
                    if offset > self._trimmed.get((topic, partition), 0)
                ]
                for at, deletion in self._admin.delete_records(fresh).items() if fresh else ():
                    deletion.result(_TIMEOUT)
                    self._trimmed[topic, at.partition] = at.offset
            except (KafkaException, TimeoutError) as error:
                _log.warning("finished tasks of %s are kept for now: %s", topic, error)
