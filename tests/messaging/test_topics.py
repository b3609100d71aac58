"""Topics are made with the settings that delivery relies on, never changed behind anybody's back, and a
group that lost its place is told so instead of beginning somewhere."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from local.kafka import EmbeddedKafka
from messaging.clients import MESSAGE_BYTES, group_consumer
from messaging.names import Names
from messaging.polling import poll
from messaging.topics import (
    Topic,
    check_offset_retention,
    check_topics,
    committed_offsets,
    create_topics,
    end_offsets,
    topic_id,
    topics,
)
from schemas.errors import ConfigError, DeploymentError, OffsetsMissing, TopicMismatch
from schemas.settings import KafkaSettings, Partitions
from tests.messaging.broker import (
    PARTITIONS,
    admin,
    delete_topic,
    make_topic,
    produce,
    settings,
    transactional,
)

DAY = 24 * 3600 * 1000
FOR_EVER = "-1"


@pytest.fixture
def deployment(kafka: str, prefix: str) -> KafkaSettings:
    return settings(kafka, prefix)


@pytest.fixture
def client(kafka: str) -> AdminClient:
    return admin(kafka)


def config_of(client: AdminClient, topic: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = client.describe_configs([resource])[resource].result(30)
    return {name: entry.value for name, entry in entries.items()}


def poll_for_a_while(consumer: Consumer) -> None:
    for _ in range(60):
        poll(consumer, 10, 0.5)


def forget(client: AdminClient, group: str) -> None:
    """What a broker does to a group that was idle for longer than offsets.retention.minutes."""
    client.delete_consumer_groups([group])[group].result(30)


def test_a_second_creation_makes_nothing(client: AdminClient, deployment: KafkaSettings, prefix: str) -> None:
    made = create_topics(client, deployment)
    assert made == [topic.name for topic in topics(deployment)]
    assert all(name.startswith(prefix) for name in made)
    existing = client.list_topics(timeout=30).topics
    counts = {name: len(existing[name].partitions) for name in made}
    assert counts == {topic.name: topic.partitions for topic in topics(deployment)}
    assert counts[f"{prefix}dids"] == counts[f"{prefix}dids.retry"] == PARTITIONS
    assert counts[f"{prefix}outcomes"] == counts[f"{prefix}ledger"] == counts[f"{prefix}job-status"]
    assert counts[f"{prefix}jobs"] == counts[f"{prefix}job-specs"] == 1
    assert create_topics(client, deployment) == []


def test_what_is_missing_is_made_beside_what_is_there(client: AdminClient, deployment: KafkaSettings) -> None:
    names = Names(deployment.topic_prefix)
    create_topics(client, deployment)
    delete_topic(client, names.rates)
    assert create_topics(client, deployment) == [names.rates]


def test_the_broker_has_the_settings(client: AdminClient, deployment: KafkaSettings) -> None:
    create_topics(client, deployment)
    names = Names(deployment.topic_prefix)
    compacted = (names.job_specs, names.plans, names.replays, names.ledger, names.job_status, names.repos)
    for topic in compacted:
        assert config_of(client, topic)["cleanup.policy"] == "compact", topic
    kept = {
        names.jobs: str(30 * DAY),
        names.outcomes: str(30 * DAY),
        names.deadletter: str(30 * DAY),
        names.records: str(7 * DAY),
        names.rates: str(DAY),
        names.dids: FOR_EVER,
        names.dids_retry: FOR_EVER,
    }
    for topic, milliseconds in kept.items():
        config = config_of(client, topic)
        assert (config["cleanup.policy"], config["retention.ms"]) == ("delete", milliseconds), topic
    assert config_of(client, names.dids)["retention.bytes"] == FOR_EVER
    for topic in (names.jobs, names.job_specs, names.records, names.deadletter):
        assert config_of(client, topic)["max.message.bytes"] == str(MESSAGE_BYTES), topic


def test_another_partition_count_is_refused(client: AdminClient, deployment: KafkaSettings) -> None:
    create_topics(client, deployment)
    more = deployment.model_copy(update={"partitions": Partitions(dids=PARTITIONS + 1, records=2)})
    with pytest.raises(TopicMismatch) as refused:
        create_topics(client, more)
    text = str(refused.value)
    assert f"{deployment.topic_prefix}" in text
    assert "let all jobs end" in text
    assert "skyfill topics create" in text
    existing = client.list_topics(timeout=30).topics
    assert len(existing[f"{deployment.topic_prefix}dids"].partitions) == PARTITIONS


def test_a_missing_topic_is_named(client: AdminClient, prefix: str) -> None:
    with pytest.raises(TopicMismatch, match=f"{prefix}nowhere does not exist; run `skyfill topics create`"):
        check_topics(client, [Topic(f"{prefix}nowhere", 1)])


def test_a_topic_that_the_broker_refuses_is_an_error(client: AdminClient, kafka: str) -> None:
    with pytest.raises(DeploymentError, match="can't be made"):
        create_topics(client, settings(kafka, "no spaces allowed "))


def test_without_a_broker_there_is_advice() -> None:
    with pytest.raises(ConfigError, match="SKYFILL_KAFKA__BOOTSTRAP_SERVERS"):
        group_consumer(KafkaSettings(), "group")


def test_every_group_starts_at_the_beginning(client: AdminClient, deployment: KafkaSettings) -> None:
    create_topics(client, deployment)
    counts = {topic.name: topic.partitions for topic in topics(deployment)}
    groups = Names(deployment.topic_prefix).groups()
    assert len(groups) == 5
    for group, group_topics in groups.items():
        for topic in group_topics:
            partitions = range(counts[topic])
            assert committed_offsets(client, group, topic, partitions) == dict.fromkeys(partitions, 0)


def test_a_group_keeps_its_place(client: AdminClient, deployment: KafkaSettings, kafka: str) -> None:
    create_topics(client, deployment)
    names = Names(deployment.topic_prefix)
    produce(kafka, names.outcomes, 0, [("job", "{}")] * 9)
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": names.tracker_group})
    consumer.commit(offsets=[TopicPartition(names.outcomes, 0, 7)], asynchronous=False)
    consumer.close()
    create_topics(client, deployment)
    assert committed_offsets(client, names.tracker_group, names.outcomes, [0]) == {0: 7}


def test_a_forgotten_group_of_empty_topics_is_placed_again(
    client: AdminClient, deployment: KafkaSettings
) -> None:
    create_topics(client, deployment)
    names = Names(deployment.topic_prefix)
    forget(client, names.worker_group)
    assert committed_offsets(client, names.worker_group, names.dids, [0]) == {}
    create_topics(client, deployment)
    assert committed_offsets(client, names.worker_group, names.dids, [0]) == {0: 0}


def test_a_forgotten_group_of_a_topic_with_messages_is_an_error(
    client: AdminClient, deployment: KafkaSettings, kafka: str
) -> None:
    create_topics(client, deployment)
    names = Names(deployment.topic_prefix)
    produce(kafka, names.dids_retry, 2, [("https://pds.example", "{}")])
    forget(client, names.worker_group)
    with pytest.raises(OffsetsMissing) as refused:
        create_topics(client, deployment)
    text = str(refused.value)
    assert f"group {names.worker_group} has no committed offset for {names.dids_retry} [2]" in text
    assert "--reset-offsets --to-earliest --execute" in text
    assert 2 not in committed_offsets(client, names.worker_group, names.dids_retry, range(PARTITIONS))


def test_messages_of_an_open_transaction_are_messages(
    client: AdminClient, deployment: KafkaSettings, kafka: str, prefix: str
) -> None:
    """The end of what is committed is still 0; yet the group could not tell what it has done."""
    create_topics(client, deployment)
    names = Names(prefix)
    with transactional(kafka, f"{prefix}planner") as producer:
        producer.begin_transaction()
        producer.produce(names.dids, b"{}", "https://pds.example", 1)
        producer.flush(30)
        assert end_offsets(client, names.dids, [1]) == {1: 0}
        assert end_offsets(client, names.dids, [1], committed=False) == {1: 1}
        forget(client, names.worker_group)
        with pytest.raises(OffsetsMissing, match=r"dids \[1\]"):
            create_topics(client, deployment)
        producer.abort_transaction(30)


def test_the_end_stays_where_it_is_when_messages_are_deleted(
    client: AdminClient, kafka: str, prefix: str
) -> None:
    topic = f"{prefix}trimmed"
    make_topic(kafka, topic, 2)
    produce(kafka, topic, 1, [("k", "v")] * 5)
    trimmed = client.delete_records([TopicPartition(topic, 1, 3)])
    for future in trimmed.values():
        future.result(30)
    assert end_offsets(client, topic, [0, 1]) == {0: 0, 1: 5}


def test_messages_deleted_before_they_were_read_are_an_error(
    client: AdminClient, deployment: KafkaSettings, kafka: str, prefix: str
) -> None:
    topic = f"{prefix}trimmed"
    make_topic(kafka, topic, 1)
    produce(kafka, topic, 0, [("k", "v")] * 5)
    for future in client.delete_records([TopicPartition(topic, 0, 3)]).values():
        future.result(30)
    consumer = group_consumer(deployment, f"{prefix}late")
    consumer.assign([TopicPartition(topic, 0, 1)])
    with pytest.raises(OffsetsMissing, match=rf"{topic} \[0\] no longer holds .* Raise the topic's"):
        poll_for_a_while(consumer)
    consumer.close()


def test_reading_a_topic_that_does_not_exist_is_an_error(deployment: KafkaSettings, prefix: str) -> None:
    consumer = group_consumer(deployment, f"{prefix}lost")
    consumer.subscribe([f"{prefix}nowhere"])
    with pytest.raises(DeploymentError, match=f"reading {prefix}nowhere .*UNKNOWN_TOPIC_OR_PART"):
        poll_for_a_while(consumer)
    consumer.close()


def test_a_topic_made_again_is_another_topic(kafka: str, prefix: str) -> None:
    name, other = f"{prefix}records", f"{prefix}others"
    client = make_topic(kafka, name, 1)
    make_topic(kafka, other, 1)
    first = topic_id(client, name)
    assert len(first) == 32
    described = client.describe_topics(TopicCollection([name]))[name].result(30).topic_id
    assert bytes.fromhex(first) == base64.urlsafe_b64decode(f"{described}==")  # as Kafka's tools show it
    assert topic_id(client, name) == first != topic_id(client, other)
    delete_topic(client, name)
    make_topic(kafka, name, 1)
    assert topic_id(client, name) != first


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with Kafka's default of seven days; it can't be told otherwise while it runs."""
    server = EmbeddedKafka(
        tmp_path_factory.mktemp("forgetful"), overrides={"offsets.retention.minutes": "10080"}
    )
    yield asyncio.run(server.start())
    asyncio.run(server.stop())


def test_a_broker_that_forgets_within_days_is_refused(forgetful: str) -> None:
    with pytest.raises(DeploymentError, match=r"after 7 days.*offsets\.retention\.minutes"):
        check_offset_retention(admin(forgetful), settings(forgetful, ""))
    accepted = settings(forgetful, "", allow_short_offset_retention=True)
    check_offset_retention(admin(forgetful), accepted)


def test_a_broker_that_forgets_nothing_is_fine(client: AdminClient, deployment: KafkaSettings) -> None:
    check_offset_retention(client, deployment)
