"""The count that decides whether a benchmark's figures are worth anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.stage import Scene
from benchmarks.tally import count_messages, require_equal
from messaging import clients
from messaging.transactions import TransactionalPublisher
from schemas.errors import LocalServerError
from schemas.records import record_event, record_head, sync_event
from schemas.settings import KafkaSettings, Partitions, Settings


def test_only_what_is_committed_counts_and_markers_apart(kafka: str, prefix: str, tmp_path: Path) -> None:
    scene = Scene(
        Settings(
            data_dir=tmp_path,
            kafka=KafkaSettings(
                bootstrap_servers=kafka,
                topic_prefix=prefix,
                partitions=Partitions(dids=1, records=3, outcomes=1, deadletter=1, repos=1),
            ),
        )
    )
    topic = scene.names.records
    publisher = TransactionalPublisher(
        clients.transactional_producer(scene.kafka, f"{prefix}fill"), scene.partitions
    )
    publisher.open()
    assert count_messages(scene, topic) == (0, 0)
    for number in range(12):
        did = f"did:plc:{number}"
        head = record_head(did, 1, "job", "commit", "rev")
        # A record may hold the very words of a marker.
        events = [record_event(head, "a.b.c", str(key), "cid", b'{"kind":"sync"}') for key in range(number)]
        publisher.publish_all(topic, did, events)
        publisher.publish(topic, did, sync_event(did, 1, "job", "rev", number, "all"))
        if number % 3 == 2:
            publisher.abort()
        elif number % 3 == 1:
            publisher.commit()
    wanted = sum(n for n in range(12) if n % 3 != 2), 8
    assert count_messages(scene, topic) == wanted

    require_equal("records", count_messages(scene, topic), wanted)
    with pytest.raises(LocalServerError, match="the figures mean nothing"):
        require_equal("records", count_messages(scene, topic), (wanted[0] + 1, wanted[1]))
