"""A broker that was killed and is back has new leaders: who asks it by the old ones has to notice."""

from __future__ import annotations

from pathlib import Path

from local.kafka import EmbeddedKafka
from messaging.topics import end_offsets
from tests.messaging.broker import make_topic

PARTITIONS = 2


async def test_ends_are_known_again_as_soon_as_the_broker_is_back(tmp_path: Path) -> None:
    kafka = EmbeddedKafka(tmp_path / "kafka")
    client = make_topic(await kafka.start(), "topic", PARTITIONS)
    assert end_offsets(client, "topic", range(PARTITIONS)) == {0: 0, 1: 0}
    assert kafka.process is not None
    await kafka.process.stop(grace=0.0)
    await kafka.stop()
    await kafka.start()
    try:
        assert end_offsets(client, "topic", range(PARTITIONS)) == {0: 0, 1: 0}
    finally:
        await kafka.stop()
