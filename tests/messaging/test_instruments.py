"""What transactions, groups and requests show of themselves, against a real broker and a real web server."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from confluent_kafka import TopicPartition
from prometheus_client import CollectorRegistry

from atp.xrpc import Client
from messaging.clients import transactional_producer
from messaging.instruments import GroupMetrics, HttpMetrics, TransactionMetrics
from messaging.membership import Membership
from messaging.names import Names
from messaging.topics import create_topics
from messaging.transactions import TransactionalPublisher
from schemas.errors import FencedError, UnexpectedResponse
from tests.atp.builder import DID
from tests.atp.hosts import serving
from tests.messaging.broker import admin, eventually, make_topic, produce, settings


class Idle:
    """Takes partitions and does nothing with them."""

    def assigned(self, start: object) -> None:
        pass

    def revoking(self, partitions: object) -> None:
        pass


def test_transactions_are_counted_by_their_end(kafka: str, prefix: str) -> None:
    registry = CollectorRegistry()
    metrics = TransactionMetrics(registry)
    topic = f"{prefix}out"
    make_topic(kafka, topic, 1)

    def open_one() -> TransactionalPublisher:
        producer = transactional_producer(settings(kafka, prefix), f"{prefix}id")
        publisher = TransactionalPublisher(producer, {topic: 1}, metrics.of("main"))
        publisher.open()
        return publisher

    def ends(result: str) -> float | None:
        return registry.get_sample_value("skyfill_transactions_total", {"producer": "main", "result": result})

    def open_seconds() -> float | None:
        return registry.get_sample_value("skyfill_transaction_open_seconds", {"producer": "main"})

    first = open_one()
    assert open_seconds() is None, "nothing is open, which is not an age of 0"
    first.publish_all(topic, "a", [b"1", b"2"])
    assert (open_seconds() or -1) >= 0
    first.commit()
    first.publish(topic, "a", b"3")
    first.abort()
    first.commit()  # with nothing open, none ends
    assert (ends("committed"), ends("aborted"), ends("refused")) == (1, 1, 0)
    labels = {"producer": "main", "topic": topic}
    assert registry.get_sample_value("skyfill_messages_published_total", labels) == 3
    assert registry.get_sample_value("skyfill_transaction_seconds_count", {"producer": "main"}) == 1
    assert registry.get_sample_value("skyfill_produce_queue_messages", {"producer": "main"}) == 0
    first.publish(topic, "a", b"4")
    open_one()
    with pytest.raises(FencedError):
        first.commit()
    assert (ends("committed"), ends("refused")) == (1, 1)


def test_lag_is_what_is_left_to_read_and_absent_where_unknown(kafka: str, prefix: str) -> None:
    deployment = settings(kafka, prefix)
    create_topics(admin(kafka), deployment)
    topic, registry = Names(prefix).outcomes, CollectorRegistry()

    def lag() -> float | None:
        return registry.get_sample_value("skyfill_consumer_lag_messages", {"topic": topic, "partition": "0"})

    member = Membership(
        deployment, Names(prefix).tracker_group, topic, Idle(), metrics=GroupMetrics(registry)
    )
    assert lag() is None, "not assigned yet: unknown, not 0"
    produce(kafka, topic, 0, [("a", "1")] * 30)
    read = 0

    def poll() -> int:
        nonlocal read
        read += len(member.poll(10, 0.2).messages)
        return read

    eventually(lambda: poll() >= 30 and lag() == 0)
    held = registry.get_sample_value("skyfill_consumer_partitions", {"topic": topic})
    assert held == 1
    member.consumer.pause([TopicPartition(topic, 0)])
    member.paused = [(topic, 0)]
    produce(kafka, topic, 0, [("a", "1")] * 30)
    eventually(lambda: poll() == 30 and lag() is None)
    member.close()


async def test_requests_are_counted_by_endpoint_and_outcome() -> None:
    registry = CollectorRegistry()
    arrived, waiting = asyncio.Event(), asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        if "describeRepo" in request.path:
            return web.json_response({"collections": []})
        if "getRepo" in request.path:
            arrived.set()
            await waiting.wait()
        return web.Response(status=502, text="bad gateway")

    def outcomes(endpoint: str, outcome: str) -> float | None:
        labels = {"endpoint": endpoint, "outcome": outcome}
        return registry.get_sample_value("skyfill_http_requests_total", labels)

    def in_flight(endpoint: str) -> float | None:
        return registry.get_sample_value("skyfill_http_requests_in_flight", {"endpoint": endpoint})

    async with (
        serving(handle) as host,
        Client(user_agent="tests/1", allow_private_hosts=True, observer=HttpMetrics(registry)) as client,
    ):
        await client.describe_repo(host.url, DID)
        with pytest.raises(UnexpectedResponse):
            await client.get_latest_commit(host.url, DID)

        async def download() -> None:
            async with client.get_repo(host.url, DID):
                pass

        download_task = asyncio.create_task(download())
        await arrived.wait()
        assert in_flight("getRepo") == 1
        download_task.cancel()
        await asyncio.wait([download_task])
        waiting.set()
    assert outcomes("describeRepo", "200") == 1
    assert outcomes("getLatestCommit", "502") == 1
    assert outcomes("getRepo", "cancelled") == 1
    assert in_flight("getRepo") == 0
    count = registry.get_sample_value("skyfill_http_answer_seconds_count", {"endpoint": "describeRepo"})
    assert count == 1
    assert registry.get_sample_value("skyfill_http_answer_seconds_count", {"endpoint": "getRepo"}) is None
