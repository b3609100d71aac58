"""Dead letters by their ids and by their time, with all that may lie between them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from confluent_kafka import TopicPartition

from messaging import clients
from messaging.letters import GONE, MISSING, UNREADABLE, LetterReader
from messaging.topics import create_topics, end_offsets
from schemas.deadletter import DeadLetter, LetterId
from schemas.settings import KafkaSettings, Partitions
from tests.messaging.broker import eventually, settings, transactional

MANY = 5_000


def letter(number: int) -> DeadLetter:
    return DeadLetter(
        stage="fetch", error_type="network_error", reason="R", did=f"did:plc:{number}", at=datetime.now(UTC)
    )


@pytest.fixture
def deployment(kafka: str, prefix: str) -> KafkaSettings:
    parts = Partitions(dids=1, records=1, outcomes=1, deadletter=2, repos=1)
    made = settings(kafka, prefix, partitions=parts)
    create_topics(clients.admin(made), made)
    return made


@pytest.fixture
def reader(deployment: KafkaSettings) -> Iterator[LetterReader]:
    reader = LetterReader(deployment)
    yield reader
    reader.close()


def put(deployment: KafkaSettings, partition: int, numbers: range, *, commit: bool = True) -> None:
    """Letters in one transaction, which occupies one more offset."""
    with transactional(deployment.bootstrap_servers or "", f"{deployment.topic_prefix}writer") as producer:
        producer.begin_transaction()
        for number in numbers:
            producer.produce(f"{deployment.topic_prefix}deadletter", letter(number).encode(), b"k", partition)
        producer.flush(30)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    client, topic = clients.admin(deployment), f"{deployment.topic_prefix}deadletter"
    eventually(  # a commit is decided before its marker is there
        lambda: end_offsets(client, topic, [0, 1]) == end_offsets(client, topic, [0, 1], committed=False)
    )


def test_letters_are_found_by_their_ids_and_the_others_say_why_not(
    deployment: KafkaSettings, reader: LetterReader
) -> None:
    topic = f"{deployment.topic_prefix}deadletter"
    assert [found.why for found in reader.named([LetterId(0, 0), LetterId(7, 0)])] == [MISSING, MISSING]
    put(deployment, 0, range(5))  # 0 to 4, its marker at 5
    put(deployment, 0, range(5, 8), commit=False)  # 6 to 8, its marker at 9
    put(deployment, 0, range(10, 10 + MANY))  # from 10 on
    plain = clients.producer(deployment)
    plain.produce(topic, b"no letter", b"k", 1)
    assert plain.flush(30) == 0
    client = clients.admin(deployment)
    client.delete_records([TopicPartition(topic, 0, 2)])[TopicPartition(topic, 0, 2)].result(30)

    wanted = [
        (0, 1),
        (0, 3),
        (0, 4),
        (0, 5),
        (0, 7),
        (0, 10),
        (0, 11),
        (0, 4900),
        (0, 4900),
        (0, 99_999),
        (1, 0),
    ]
    found = {str(each.id): each for each in reader.named(LetterId(*each) for each in wanted)}
    assert {name: each.why for name, each in found.items() if each.why} == {
        "0:1": GONE,
        "0:5": MISSING,
        "0:7": MISSING,
        "0:99999": MISSING,
        "1:0": UNREADABLE,
    }
    dids = {name: each.letter.did for name, each in found.items() if each.letter}
    assert dids == {f"0:{at}": f"did:plc:{at}" for at in (3, 4, 10, 11, 4900)}


def test_all_letters_since_a_time(deployment: KafkaSettings, reader: LetterReader) -> None:
    assert list(reader.since(None)) == []
    put(deployment, 0, range(3))
    between = datetime.now(UTC)
    put(deployment, 1, range(3, 5))
    put(deployment, 0, range(5, 7), commit=False)
    put(deployment, 0, range(7, 9))
    every = [(str(name), found.did) for name, found in reader.since(None)]
    assert every == [
        *((f"0:{at}", f"did:plc:{at}") for at in range(3)),
        ("0:7", "did:plc:7"),
        ("0:8", "did:plc:8"),
        ("1:0", "did:plc:3"),
        ("1:1", "did:plc:4"),
    ]
    assert [str(name) for name, _ in reader.since(between)] == ["0:7", "0:8", "1:0", "1:1"]
    assert list(reader.since(datetime.now(UTC))) == []
