"""A commit that is refused, and dead letters that come with it."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from confluent_kafka import TopicPartition

from messaging.clients import MESSAGE_BYTES, group_consumer
from messaging.polling import Delivered
from schemas.deadletter import DeadLetter
from schemas.errors import FencedError, ItemTooLarge
from schemas.records import record_event, record_head
from sinks import letters
from sinks.commits import Commits
from sinks.rows import Row, read
from tests.sinks.deployment import Deployment


def test_who_is_no_member_commits_nothing(kafka: str, prefix: str) -> None:
    deployment = Deployment(kafka, prefix)
    stranger = group_consumer(deployment.settings.kafka, deployment.names.sink_group("parquet"))
    commits = Commits(deployment.settings, "parquet")
    offsets = [TopicPartition(deployment.names.records, 0, 5)]
    letter = DeadLetter(
        stage="sink", error_type="sink_failed", reason="X", did="did:plc:a", at=datetime.now(UTC)
    )
    for dead in ([], [letter]):
        with pytest.raises(FencedError, match="no longer a member"):
            commits.commit(stranger, offsets, dead)
    stranger.close()
    assert deployment.dead_letters() == []


def test_a_dead_letter_always_fits_a_message() -> None:
    head = record_head("did:plc:a", 5, "j", "commit", "3l")
    text = random.Random(1).randbytes(1_000_000).hex()
    for size, kept in [(len(text), True), (MESSAGE_BYTES, False)]:
        value = record_event(head, "a.b.c", "k", "bafy", b'{"text":"%b"}' % (text * 3)[:size].encode())
        message = Delivered("records", 0, 7, "did:plc:a", value, 0)
        row = read(value, 0, 7)
        assert isinstance(row, Row)
        letter = letters.refused(message, row, "/table", ItemTooLarge("too large"))
        assert (letter.payload is not None) == kept
        assert ("do not fit a dead letter" in letter.detail) != kept
        assert len(letter.encode()) < MESSAGE_BYTES
