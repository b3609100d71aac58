"""Messages sent outside transactions and waited for: what is returned from is with the broker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from confluent_kafka import KafkaException, Producer

from schemas.errors import DeploymentError

_SECONDS = 30.0


class Outgoing(NamedTuple):
    """One message; a value of None is a compacted topic's tombstone."""

    key: str
    value: bytes | None
    partition: int


def send_all(client: Producer, topic: str, messages: Iterable[Outgoing]) -> None:
    """Returns once the broker has all. DeploymentError where it does not take one of them."""
    refused: list[str] = []

    def delivered(error: Any, message: Any) -> None:
        if error:
            refused.append(error.str())

    try:
        for key, value, partition in messages:
            client.produce(topic, value, key.encode(), partition, on_delivery=delivered)
        left = client.flush(_SECONDS)
    except (KafkaException, BufferError) as error:
        raise DeploymentError(f"nothing can be written to {topic}: {error}") from error
    if left or refused:
        why = refused[0] if refused else f"no answer within {_SECONDS:.0f} s"
        raise DeploymentError(f"not all could be written to {topic}: {why}")
