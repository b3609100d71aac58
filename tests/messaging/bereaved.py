"""A process in a transaction whose broker is killed and started again, before it commits with offsets.

    python -m tests.messaging.bereaved SETTINGS TOPIC

It says `open` when the transaction holds something, and commits when it is told anything.
"""

from __future__ import annotations

import logging
import sys

from confluent_kafka import Consumer, TopicPartition

from messaging import transactions
from messaging.clients import group_consumer, transactional_producer
from messaging.crash import end_with
from messaging.transactions import TransactionalPublisher
from schemas.settings import KafkaSettings

CALL_SECONDS = 5.0


def joined(kafka: KafkaSettings, topic: str) -> Consumer:
    """The only member of a group."""
    member = group_consumer(kafka, f"{kafka.topic_prefix}group")
    member.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    assigned: list[TopicPartition] = []
    member.subscribe([topic], on_assign=lambda _, partitions: assigned.extend(partitions))
    while not assigned:
        member.poll(0.1)
    return member


def main(kafka: KafkaSettings, topic: str) -> None:
    """One commit while all is well, and one after the broker was away."""
    transactions._CALL_TIMEOUT = CALL_SECONDS
    publisher = TransactionalPublisher(
        transactional_producer(kafka, f"{kafka.topic_prefix}writer"), {topic: 1}
    )
    publisher.open()
    member = joined(kafka, topic)
    publisher.publish(topic, "a", b"1")
    publisher.commit([TopicPartition(topic, 0, 1)], member)
    publisher.publish(topic, "a", b"2")
    publisher._producer.flush(10)
    print("open", flush=True)
    sys.stdin.readline()
    publisher.commit([TopicPartition(topic, 0, 2)], member)


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    try:
        main(KafkaSettings.model_validate_json(sys.argv[1]), sys.argv[2])
    except Exception as error:
        end_with(error)
