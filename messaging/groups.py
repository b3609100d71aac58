"""Who is at work: consumer groups that have members."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient


def groups_at_work(client: AdminClient, groups: Iterable[str], *, patience: float = 10.0) -> list[str]:
    """Those of the groups that have members; a killed process counts until its session is over.

    KafkaException where the broker does not tell within `patience` seconds, as while a new one has no
    coordinators yet.
    """
    found = client.describe_consumer_groups(list(groups), request_timeout=patience)
    busy = []
    for group, future in found.items():
        try:
            if future.result(patience).members:
                busy.append(group)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise
    return busy
