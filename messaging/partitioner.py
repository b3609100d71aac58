"""The one function that chooses a partition, so that no two parts of skyfill ever disagree."""

from __future__ import annotations

from confluent_kafka import consistent


def partition_for(key: str, partitions: int) -> int:
    """A key's partition among `partitions`: CRC32, as librdkafka's and kcat's `consistent`."""
    return consistent(key.encode(), partitions)
