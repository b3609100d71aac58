"""A view shows what is committed, all of it and nothing else, whatever transactions do at the topic's end."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import pytest
from confluent_kafka import Producer

from messaging.views import CompactedView
from schemas.errors import DeploymentError
from tests.messaging.broker import make_topic, produce, settings, transactional
from tests.messaging.notes import Note, note


@pytest.fixture
def topic(kafka: str, prefix: str) -> str:
    name = f"{prefix}notes"
    make_topic(kafka, name, 2, {"cleanup.policy": "compact"})
    return name


@pytest.fixture
def writer(kafka: str, prefix: str) -> Iterator[Producer]:
    with transactional(kafka, f"{prefix}writer") as producer:
        yield producer


def view(kafka: str, topic: str, partitions: Iterable[int] | None = None) -> CompactedView[Note]:
    return CompactedView(settings(kafka, ""), topic, Note.decode, partitions)


def texts(of: CompactedView[Note]) -> dict[str, str]:
    return {key: item.text for key, item in of.items.items()}


def put(producer: Producer, topic: str, partition: int, key: str, text: str) -> None:
    producer.produce(topic, note(text), key, partition)
    producer.flush(30)


def test_the_latest_message_of_a_key_counts(kafka: str, topic: str) -> None:
    shown = view(kafka, topic)
    shown.catch_up(30)
    assert shown.items == {}
    produce(kafka, topic, 0, [("a", note("old")), ("b", note("b")), ("a", note("new")), ("b", None)])
    produce(kafka, topic, 1, [("c", None), ("c", note("back again")), ("nobody", None)])
    shown.catch_up(30)
    assert texts(shown) == {"a": "new", "c": "back again"}
    shown.close()


def test_poll_tells_the_keys_that_changed(kafka: str, topic: str) -> None:
    produce(kafka, topic, 0, [("a", note("1")), ("b", note("1"))])
    shown = view(kafka, topic)
    shown.catch_up(30)
    assert shown.poll() == set()
    produce(kafka, topic, 1, [("c", note("1"))])
    produce(kafka, topic, 0, [("b", None)])
    changed: set[str] = set()
    while changed != {"b", "c"}:
        changed |= (now := shown.poll(0.5))
        assert "a" not in now
    assert texts(shown) == {"a": "1", "c": "1"}
    shown.close()


def test_only_the_partitions_asked_for(kafka: str, topic: str, writer: Producer) -> None:
    """The other partition may even hang in an open transaction."""
    produce(kafka, topic, 1, [("mine", note("1"))])
    writer.begin_transaction()
    put(writer, topic, 0, "other", "2")
    shown = view(kafka, topic, [1])
    shown.catch_up(30)
    assert texts(shown) == {"mine": "1"}
    writer.abort_transaction(30)
    shown.close()


def test_aborted_messages_are_never_seen(kafka: str, topic: str, writer: Producer) -> None:
    for text, ends in (("first", "commit"), ("wrong", "abort"), ("second", "commit"), ("lost", "abort")):
        writer.begin_transaction()
        put(writer, topic, 0, "a", text)
        put(writer, topic, 1, text, text)
        if ends == "commit":
            writer.commit_transaction(30)
        else:
            writer.abort_transaction(30)
    shown = view(kafka, topic)
    shown.catch_up(30)  # the last message in the topic is one that no reader gets
    assert texts(shown) == {"a": "second", "first": "first", "second": "second"}
    shown.close()


@pytest.mark.parametrize("decision", ["commit", "abort"])
def test_catching_up_waits_for_an_open_transaction(
    kafka: str, topic: str, writer: Producer, decision: str
) -> None:
    """Whoever takes a partition over has to know how its predecessor's last transaction ended."""
    produce(kafka, topic, 0, [("a", note("before"))])
    writer.begin_transaction()
    put(writer, topic, 0, "a", "undecided")
    put(writer, topic, 0, "b", "undecided")
    shown = view(kafka, topic)
    done = threading.Event()

    def catch_up() -> None:
        shown.catch_up(60)
        done.set()

    thread = threading.Thread(target=catch_up)
    thread.start()
    assert not done.wait(1.5)
    if decision == "commit":
        writer.commit_transaction(30)
    else:
        writer.abort_transaction(30)
    thread.join(60)
    assert done.is_set()
    assert texts(shown) == ({"a": "undecided", "b": "undecided"} if decision == "commit" else {"a": "before"})
    shown.close()


def test_a_transaction_that_stays_open_is_named(kafka: str, topic: str, writer: Producer) -> None:
    writer.begin_transaction()
    put(writer, topic, 1, "a", "undecided")
    shown = view(kafka, topic)
    with pytest.raises(DeploymentError, match=rf"{topic} \[1\] .* within 1 s; .*open transaction"):
        shown.catch_up(1)
    assert shown.items == {}
    writer.commit_transaction(30)
    shown.catch_up(30)
    assert texts(shown) == {"a": "undecided"}
    shown.close()


@pytest.mark.parametrize("value", ["not JSON", '{"text":1}', '{"text":"a","from the future":true}'])
def test_a_message_of_another_version_is_an_error(kafka: str, topic: str, value: str) -> None:
    produce(kafka, topic, 0, [("a", note("good")), ("b", value)])
    shown = view(kafka, topic)
    with pytest.raises(DeploymentError, match=f"{topic} holds a message for 'b'"):
        shown.catch_up(30)
    shown.close()
