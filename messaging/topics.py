"""Topics with the settings that delivery relies on. Creating them is idempotent; changing them is refused.

Known groups get offset 0 while a topic is still empty, so that a missing offset later always means trouble.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from confluent_kafka import (
    OFFSET_INVALID,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from messaging.clients import MESSAGE_BYTES
from messaging.names import Names
from messaging.polling import PASSING
from schemas.errors import DeploymentError, OffsetsMissing, TopicMismatch
from schemas.settings import KafkaSettings

T = TypeVar("T")
_DAY = 24 * 3600 * 1000
_TIMEOUT = 30.0
_PATIENCE = 5.0
_LEAST_OFFSET_RETENTION_DAYS = 30
_COUNTS_SEGMENT_BYTES = 64 * 2**20
_COMPACTED = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.ms": str(_DAY)}


@dataclass(frozen=True)
class Topic:
    """A topic as it has to be."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


def topics(kafka: KafkaSettings) -> list[Topic]:
    """All topics of a deployment."""
    names, parts = Names(kafka.topic_prefix), kafka.partitions
    month, week = {"retention.ms": str(30 * _DAY)}, {"retention.ms": str(7 * _DAY)}
    for_ever = {"retention.ms": "-1", "retention.bytes": "-1"}
    large = {"max.message.bytes": str(MESSAGE_BYTES)}
    # Written anew twice a second while jobs run: small segments are compacted soon, so that whoever reads
    # them from their beginning has not much to read.
    counts = _COMPACTED | large | {"segment.bytes": str(_COUNTS_SEGMENT_BYTES)}
    return [
        Topic(names.jobs, 1, month | large),
        Topic(names.job_specs, 1, _COMPACTED | large),
        Topic(names.plans, parts.repos, _COMPACTED),
        Topic(names.dids, parts.dids, for_ever),
        Topic(names.dids_retry, parts.dids, for_ever),
        Topic(names.records, parts.records, week | large),
        Topic(names.outcomes, parts.outcomes, month | large),
        Topic(names.deadletter, parts.deadletter, month | large),
        Topic(names.replays, parts.deadletter, _COMPACTED),
        Topic(names.ledger, parts.outcomes, counts),
        Topic(names.job_status, parts.outcomes, counts),
        Topic(names.repos, parts.repos, _COMPACTED),
        Topic(names.hosts, parts.dids, _COMPACTED),
        Topic(names.job_hosts, parts.outcomes, counts),
        Topic(names.rates, parts.outcomes, {"retention.ms": str(_DAY)}),
        Topic(names.configs, 1, _COMPACTED | large),
        Topic(names.tokens, 1, _COMPACTED),
        Topic(names.audit, 1, {"retention.ms": str(365 * _DAY)}),
        Topic(names.webhooks, parts.outcomes, _COMPACTED),
    ]


def create_topics(client: AdminClient, kafka: KafkaSettings) -> list[str]:
    """Makes what is missing and returns the names of the topics made.

    Raises TopicMismatch where a topic exists with another partition count, and OffsetsMissing where a
    group has lost its place in a topic that already holds messages.
    """
    wanted = topics(kafka)
    made = []
    futures = client.create_topics(
        [
            NewTopic(t.name, t.partitions, replication_factor=kafka.replication_factor, config=dict(t.config))
            for t in wanted
        ]
    )
    for name, future in futures.items():
        try:
            future.result(_TIMEOUT)
            made.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise DeploymentError(f"topic {name} can't be made: {error.args[0].str()}") from error
    _await_metadata(client, made)
    check_topics(client, wanted)
    _place_groups(client, Names(kafka.topic_prefix))
    return made


def check_topics(client: AdminClient, wanted: Iterable[Topic]) -> None:
    """Raises TopicMismatch unless all exist with the wanted partition counts."""
    existing = client.list_topics(timeout=_TIMEOUT).topics
    for topic in wanted:
        found = existing.get(topic.name)
        if found is None or not found.partitions:
            raise TopicMismatch(f"topic {topic.name} does not exist; run `skyfill topics create`")
        if len(found.partitions) != topic.partitions:
            raise TopicMismatch(
                f"topic {topic.name} has {len(found.partitions)} partitions, the settings say "
                f"{topic.partitions}; keys would move, so this can't be changed in place: set "
                f"kafka.partitions to what the topic has, or let all jobs end, stop the processes, delete "
                f"the topics under this prefix and run `skyfill topics create`"
            )


def topic_id(client: AdminClient, topic: str) -> str:
    """The topic's UUID as 32 hexadecimal digits: another one after the topic was deleted and made again."""
    described = client.describe_topics(TopicCollection([topic]))[topic].result(_TIMEOUT)
    high, low = (
        described.topic_id.get_most_significant_bits(),
        described.topic_id.get_least_significant_bits(),
    )
    return f"{high & (2**64 - 1):016x}{low & (2**64 - 1):016x}"  # the halves are signed


def end_offsets(
    client: AdminClient,
    topic: str,
    partitions: Iterable[int],
    *,
    committed: bool = True,
    patience: float = _TIMEOUT,
) -> dict[int, int]:
    """The end of each partition: of what is committed, or of all that was written. DeploymentError if the
    broker does not answer within `patience` seconds."""
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    request = {TopicPartition(topic, p): OffsetSpec.latest() for p in partitions}

    def ask() -> dict[int, int]:
        futures = client.list_offsets(request, isolation_level=level, request_timeout=_PATIENCE)
        return {tp.partition: future.result(_PATIENCE).offset for tp, future in futures.items()}

    return _patiently(_knowing_leaders(client, topic, ask), patience)


def offsets_since(
    client: AdminClient, topic: str, partitions: Iterable[int], since: datetime
) -> dict[int, int]:
    """For each partition, the offset of the first message produced at or after `since`; the end of all that
    was written where there is none. DeploymentError if the broker does not answer."""
    ends = end_offsets(client, topic, partitions, committed=False)
    request = {
        TopicPartition(topic, p): OffsetSpec.for_timestamp(int(since.timestamp() * 1000)) for p in ends
    }

    def ask() -> dict[int, int]:
        futures = client.list_offsets(request, request_timeout=_PATIENCE) if request else {}
        found = {at.partition: future.result(_PATIENCE).offset for at, future in futures.items()}
        return {p: ends[p] if offset < 0 else offset for p, offset in found.items()}

    return _patiently(_knowing_leaders(client, topic, ask), _TIMEOUT)


def committed_offsets(
    client: AdminClient, group: str, topic: str, partitions: Iterable[int]
) -> dict[int, int]:
    """Offsets that a group has committed; a partition without one is absent."""
    return {p: at.offset for p, at in committed_places(client, group, topic, partitions).items()}


def committed_places(
    client: AdminClient, group: str, topic: str, partitions: Iterable[int], *, patience: float = _TIMEOUT
) -> dict[int, TopicPartition]:
    """The same with the metadata beside the offsets. DeploymentError after `patience` seconds."""
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for p in partitions])

    def ask() -> dict[int, TopicPartition]:
        _await_coordinator(client, group)
        futures = client.list_consumer_group_offsets([wanted], request_timeout=_PATIENCE)
        found = futures[group].result(_PATIENCE).topic_partitions or []
        return {tp.partition: tp for tp in found if tp.offset != OFFSET_INVALID}

    return _patiently(ask, patience)


def _await_coordinator(client: AdminClient, group: str) -> None:
    """Returns once the group's coordinator answers, with whatever it says of the group.

    librdkafka takes a coordinator that is still loading badly: asked for offsets then, an admin client dies
    of a null pointer, and the process with it (librdkafka issue 5040). Asked to describe, it tries again.
    """
    try:
        client.describe_consumer_groups([group], request_timeout=_PATIENCE)[group].result(_PATIENCE)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
            raise


def _place_groups(client: AdminClient, names: Names) -> None:
    existing = client.list_topics(timeout=_TIMEOUT).topics
    for group, group_topics in names.groups().items():
        start = []
        for topic in group_topics:
            partitions = list(existing[topic].partitions)
            placed = committed_offsets(client, group, topic, partitions)
            missing = [p for p in partitions if p not in placed]
            if not missing:
                continue
            written = [
                p for p, end in end_offsets(client, topic, missing, committed=False).items() if end > 0
            ]
            if written:
                raise OffsetsMissing(missing_offsets_text(group, topic, written))
            start += [TopicPartition(topic, p, 0) for p in missing]
        if start:
            _place(client, ConsumerGroupTopicPartitions(group, start))


def _await_metadata(client: AdminClient, made: list[str]) -> None:
    """Brokers learn of a new topic one after the other."""
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        known = client.list_topics(timeout=_TIMEOUT).topics
        if all(name in known and known[name].partitions for name in made):
            return
        time.sleep(0.1)


def _place(client: AdminClient, start: ConsumerGroupTopicPartitions) -> None:
    def ask() -> None:
        futures = client.alter_consumer_group_offsets([start], request_timeout=_PATIENCE)
        futures[start.group_id].result(_PATIENCE)

    _patiently(ask)


def _knowing_leaders(client: AdminClient, topic: str, ask: Callable[[], T]) -> Callable[[], T]:
    """The same; where it fails, with the topic's leaders asked for anew.

    A client goes on asking by the leaders and epochs that it knows, or knows to be gone, a quarter of an hour
    after there are new ones.
    """

    def asked() -> T:
        try:
            return ask()
        except KafkaException:
            client.list_topics(topic, timeout=_PATIENCE)
            return ask()

    return asked


def _patiently(ask: Callable[[], T], patience: float = _TIMEOUT) -> T:
    """Asks again while the broker is still electing leaders and coordinators of what was just made."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return ask()
        except (KafkaException, FutureTimeout) as error:
            passing = isinstance(error, FutureTimeout) or error.args[0].code() in PASSING
            if not passing or time.monotonic() > deadline:
                raise DeploymentError(f"the broker does not answer as it should: {error}") from error
            time.sleep(0.1)


def missing_offsets_text(group: str, topic: str, partitions: Iterable[int]) -> str:
    """What an operator has to know and do when a group lost its place."""
    listed = ", ".join(map(str, sorted(partitions)))
    return (
        f"group {group} has no committed offset for {topic} [{listed}], though messages lie there. The "
        f"broker forgot it (offsets.retention.minutes), or the group is new to old topics. To take up the "
        f"oldest messages kept, set the offsets with Kafka's own tool while the group is stopped: "
        f"kafka-consumer-groups --group {group} --topic {topic} --reset-offsets --to-earliest --execute"
    )


def check_offset_retention(client: AdminClient, kafka: KafkaSettings) -> None:
    """Raises DeploymentError where the broker forgets idle groups' offsets within 30 days."""
    if kafka.allow_short_offset_retention:
        return
    controller = client.describe_cluster().result(_TIMEOUT).controller
    resource = ConfigResource(ResourceType.BROKER, str(controller.id))
    try:
        entry = client.describe_configs([resource])[resource].result(_TIMEOUT)["offsets.retention.minutes"]
    except (KafkaException, KeyError):
        return  # a hosted broker may keep its configuration to itself
    days = int(entry.value) / 1440
    if days < _LEAST_OFFSET_RETENTION_DAYS:
        raise DeploymentError(
            f"the broker forgets the offsets of an idle group after {days:.0f} days, and with them what was "
            f"done; set offsets.retention.minutes to 43200 or more, or accept the risk with "
            f"SKYFILL_KAFKA__ALLOW_SHORT_OFFSET_RETENTION=true"
        )
