"""Which jobs are this notifier's: a consumer group shares the partitions out, and nothing is read through it.

Losing one is no reason to end: what two notifiers do at once is told twice under one id, no worse.
"""

from __future__ import annotations

import logging

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from messaging.clients import group_consumer
from messaging.polling import poll
from schemas.settings import KafkaSettings

_log = logging.getLogger("skyfill.notifier")


class Share:
    """Life: made (subscribes), `poll` often, `close`. For one thread at a time."""

    def __init__(self, kafka: KafkaSettings, group: str, topic: str) -> None:
        """Of the partitions of `topic`."""
        self.partitions: frozenset[int] = frozenset()
        self._topic = topic
        self._consumer = group_consumer(kafka, group)
        self._consumer.subscribe(
            [topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, seconds: float) -> None:
        """Takes part in the group, up to so many seconds. Raises DeploymentError."""
        poll(self._consumer, 1, seconds)

    def close(self) -> None:
        """Leaves, so that others take over at once."""
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        coming = [TopicPartition(self._topic, p.partition, OFFSET_END) for p in partitions]
        consumer.incremental_assign(coming)
        consumer.pause(coming)
        self._have(self.partitions | {p.partition for p in partitions})

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_unassign(partitions)
        self._have(self.partitions - {p.partition for p in partitions})

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._have(self.partitions - {p.partition for p in partitions})

    def _have(self, partitions: frozenset[int]) -> None:
        if partitions != self.partitions:
            _log.info("telling of jobs in %s of %s", sorted(partitions), self._topic)
        self.partitions = partitions
