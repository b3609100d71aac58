"""The lag against a real broker: what is written and committed is told as it is, and what is not, not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from prometheus_client import CollectorRegistry

from local.kafka import EmbeddedKafka
from messaging.clients import transactional_producer
from messaging.lag import Lag, LagReader, by_topic
from messaging.lag_exporter import LagMetrics
from messaging.names import Names
from messaging.topics import create_topics, topics
from messaging.transactions import TransactionalPublisher
from messaging.window import OffsetWindow, finished_in
from schemas.errors import TopicMismatch
from schemas.settings import KafkaSettings
from tests.messaging.broker import PARTITIONS, admin, make_topic, produce, settings

LAG = Lag("g", "t", 0, 10, 30, 5, -2.0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def deployment(kafka: str, prefix: str) -> KafkaSettings:
    create_topics(admin(kafka), settings(kafka, prefix))
    return settings(kafka, prefix)


def commit(kafka: str, group: str, *places: TopicPartition) -> None:
    client = admin(kafka)  # has to live until the answer is there
    client.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, list(places))])[group].result(30)


def of(lags: list[Lag], topic: str, partition: int | None = 0) -> Lag:
    [found] = [lag for lag in lags if (lag.topic, lag.partition) == (topic, partition)]
    return found


def test_every_partition_of_every_group_is_told(kafka: str, deployment: KafkaSettings) -> None:
    names, clock = Names(deployment.topic_prefix), Clock()
    reader = LagReader(deployment, clock=clock)
    lags = reader.look()
    # jobs, dids and dids.retry, outcomes, and records for each of two sinks
    assert len(lags) == 1 + 2 * PARTITIONS + 1 + 2 * 2
    assert {(lag.committed, lag.end, lag.lag, lag.trend, lag.clears_in) for lag in lags} == {
        (0, 0, 0, None, 0.0)
    }
    assert {lag.finished_beyond for lag in lags if lag.group == names.worker_group} == {0}
    assert {lag.finished_beyond for lag in lags if lag.group != names.worker_group} == {None}

    produce(kafka, names.dids, 0, [("a", "1")] * 40)
    window = OffsetWindow(0)
    for offset in range(40):
        window.deliver(offset)
    for offset in [*range(10), 15, 17, 19]:
        window.finish(offset)
    place = TopicPartition(names.dids, 0, window.committed, window.metadata())
    commit(kafka, names.worker_group, place)
    clock.now += 10
    growing = of(reader.look(), names.dids)
    assert (growing.committed, growing.end, growing.lag) == (10, 40, 30)
    assert growing.finished_beyond == 3
    assert growing.trend == pytest.approx(3.0)
    assert growing.clears_in is None, "a lag that grows is never gone"
    assert of(reader.look(), names.dids, 1).lag == 0

    clock.now += 10
    commit(kafka, names.worker_group, TopicPartition(names.dids, 0, 35))
    falling = of(reader.look(), names.dids)
    assert (falling.lag, falling.finished_beyond) == (5, 0)
    clock.now += 45  # the look of the beginning is too old to count, the one after it is not
    still = of(reader.look(), names.dids)
    assert still.trend == pytest.approx(-25 / 55)
    assert still.clears_in == pytest.approx(5 / -(still.trend or 0))


def test_what_lies_in_an_open_transaction_is_written(kafka: str, deployment: KafkaSettings) -> None:
    names = Names(deployment.topic_prefix)
    producer = transactional_producer(deployment, f"{names.prefix}open")
    publisher = TransactionalPublisher(producer, {names.records: deployment.partitions.records})
    publisher.open()
    publisher.publish(names.records, "a", b"1")
    assert producer.flush(30) == 0
    lags = [lag for lag in LagReader(deployment).look() if lag.topic == names.records]
    assert sorted({lag.lag for lag in lags}) == [0, 1]
    publisher.abort()


def test_what_is_not_committed_is_unknown(kafka: str, prefix: str) -> None:
    deployment, names = settings(kafka, prefix), Names(prefix)
    group = names.sink_group("parquet")
    for topic in topics(deployment):  # without giving the groups their places
        make_topic(kafka, topic.name, topic.partitions)
    reader = LagReader(deployment)
    parts = [lag for lag in reader.look() if lag.group == group]
    assert [(lag.committed, lag.end, lag.lag, lag.trend, lag.clears_in) for lag in parts] == [
        (None, 0, None, None, None)
    ] * 2
    commit(kafka, group, TopicPartition(names.records, 1, 0))
    [summed] = [lag for lag in by_topic(reader.look()) if lag.group == group]
    assert (summed.lag, summed.unknown, summed.clears_in) == (0, 1, None), "the sum does not hide the other"


def test_topics_that_do_not_exist_are_an_error_that_says_what_to_do(kafka: str, prefix: str) -> None:
    with pytest.raises(TopicMismatch, match="skyfill topics create"):
        LagReader(settings(kafka, prefix))


def test_a_broker_that_went_away_is_unknown_and_comes_back(tmp_path: Path, prefix: str) -> None:
    broker = EmbeddedKafka(tmp_path)
    try:
        deployment = settings(asyncio.run(broker.start()), prefix)
        create_topics(admin(deployment.bootstrap_servers or ""), deployment)
        reader = LagReader(deployment, patience=1.0)
        assert {lag.lag for lag in reader.look()} == {0}
        asyncio.run(broker.stop())
        assert {(lag.committed, lag.end, lag.lag) for lag in reader.look()} == {(None, None, None)}
    finally:
        asyncio.run(broker.stop())


def test_topics_are_summed() -> None:
    parts = [LAG, replace(LAG, partition=1, trend=-3.0, finished_beyond=1)]
    [topic] = by_topic(parts)
    assert topic == Lag("g", "t", None, 20, 60, 6, -5.0)
    assert (topic.lag, topic.clears_in) == (40, 8.0)
    unknown = Lag("g", "t", 1, None, 30, None, None)
    [half] = by_topic([LAG, unknown])
    assert (half.lag, half.unknown, half.clears_in) == (20, 1, None)
    [nothing] = by_topic([unknown])
    assert (nothing.committed, nothing.end, nothing.lag) == (None, None, None)


@pytest.mark.parametrize("metadata", ["{}", "no bitmap", "AAAA"])
def test_metadata_of_others_is_no_bitmap(metadata: str) -> None:
    assert finished_in(metadata) is None


def test_the_exporter_shows_what_is_known_until_it_grows_old() -> None:
    registry, clock = CollectorRegistry(), Clock()
    metrics = LagMetrics(registry, 30, clock)
    metrics.show([LAG, Lag("g", "t", 1, None, 30, None, None)])

    def sample(name: str, partition: int = 0) -> float | None:
        labels = {"group": "g", "topic": "t", "partition": str(partition)}
        return registry.get_sample_value(f"skyfill_group_{name}", labels)

    names = ("committed_offset", "end_offset", "lag_messages", "lag_messages_per_second")
    assert [sample(name) for name in names] == [10, 30, 20, -2]
    assert [sample(name) for name in ("clears_in_seconds", "finished_beyond_commit")] == [10, 5]
    assert [sample(name, 1) for name in names] == [None, 30, None, None]
    clock.now += 31
    assert [sample(name) for name in names] == [None] * 4, "an old figure is no figure"
