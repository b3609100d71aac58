"""Configurations of the Kafka clients, in one place, since exactly-once hangs on several of them.

Every consumer reads committed and never commits by itself; every producer is idempotent.
"""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from schemas.errors import ConfigError
from schemas.settings import KafkaSettings

MESSAGE_BYTES = 4 * 2**20
"""Largest message that any topic takes."""
_QUEUE_MESSAGES = 50_000
_QUEUE_KBYTES = 64 * 1024
_log = logging.getLogger("skyfill.kafka")


def _base(kafka: KafkaSettings) -> dict[str, Any]:
    if not kafka.bootstrap_servers:
        raise ConfigError(
            "no Kafka broker is configured; set SKYFILL_KAFKA__BOOTSTRAP_SERVERS=host:port "
            "(`skyfill up` starts an embedded one and prints its address)"
        )
    return {"bootstrap.servers": kafka.bootstrap_servers, "logger": _log, **kafka.client}


def admin(kafka: KafkaSettings) -> AdminClient:
    """A client for topics, offsets and configurations."""
    return AdminClient(_base(kafka))


def producer(kafka: KafkaSettings, **overrides: Any) -> Producer:
    """An idempotent producer with a bounded queue."""
    return Producer(
        _base(kafka)
        | {
            "enable.idempotence": True,
            "compression.type": "zstd",
            "compression.level": 1,
            "linger.ms": 5,
            "message.max.bytes": MESSAGE_BYTES,
            "queue.buffering.max.messages": _QUEUE_MESSAGES,
            "queue.buffering.max.kbytes": _QUEUE_KBYTES,
        }
        | overrides
    )


def transactional_producer(
    kafka: KafkaSettings, transactional_id: str, *, timeout_seconds: float | None = None
) -> Producer:
    """A producer for transactions of at most `timeout_seconds`; `init_transactions` is still to be called."""
    seconds = timeout_seconds or kafka.transaction_timeout_seconds
    return producer(
        kafka, **{"transactional.id": transactional_id, "transaction.timeout.ms": int(seconds * 1000)}
    )


def group_consumer(kafka: KafkaSettings, group: str) -> Consumer:
    """A member of a group: cooperative, read-committed, no auto commit; a missing offset is an error."""
    session = int(kafka.session_timeout_seconds * 1000)
    return Consumer(
        _base(kafka)
        | {
            "group.id": group,
            "isolation.level": "read_committed",
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "session.timeout.ms": session,
            "heartbeat.interval.ms": max(200, session // 5),
            "max.poll.interval.ms": max(900_000, session),
            "fetch.wait.max.ms": 100,
            "queued.max.messages.kbytes": 32 * 1024,
            "fetch.message.max.bytes": MESSAGE_BYTES,
        }
    )


def reader(kafka: KafkaSettings) -> Consumer:
    """A consumer outside all groups, for reading a topic from a place of one's own choosing."""
    return Consumer(
        _base(kafka)
        | {
            "group.id": "skyfill-reader",  # librdkafka wants one; nothing is ever committed to it
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            # Small messages pack well: a fetch is unpacked to many times its size, and waits as a whole. What
            # is larger than a fetch comes all the same, one batch at a time.
            "fetch.message.max.bytes": 512 * 1024,
            "queued.min.messages": 20_000,
            "queued.max.messages.kbytes": 16 * 1024,
        }
    )
