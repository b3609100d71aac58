"""Reads what became of transactions from the broker's own log files, where nothing can be hidden.

The format is Kafka's record batch, version 2 (kafka.apache.org/documentation/#recordbatch). Only headers and
the control records that end transactions are looked at.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_HEADER = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length from here on, leader epoch, magic, CRC, attributes, last offset delta, two timestamps,
producer id, producer epoch, first sequence, record count."""
_LENGTH_FROM = 12
"""The length counts the bytes after itself."""
_TRANSACTIONAL, _CONTROL = 0x10, 0x20
_ABORT = 0


class Batch(NamedTuple):
    """A batch of one partition. `ends` tells of a control batch whether its transaction was committed."""

    producer: tuple[int, int]
    """Producer id and epoch: a new epoch after each aborted transaction."""
    records: int
    transactional: bool
    ends: bool | None


@dataclass
class Transactions:
    """What became of all transactions in a broker's log."""

    committed_markers: int = 0
    aborted: set[tuple[int, int]] = field(default_factory=set)
    """Aborted transactions, by producer id and epoch."""
    unseen: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Messages that only a reader of uncommitted ones would see, by topic."""


def batches(segment: Path) -> Iterator[Batch]:
    """All batches of a segment file, up to the first that is not whole."""
    data = segment.read_bytes()
    at = 0
    while at + _HEADER.size <= len(data):
        _, length, _, magic, _, attributes, _, _, _, producer, epoch, _, count = _HEADER.unpack_from(data, at)
        end = at + _LENGTH_FROM + length
        if magic != 2 or end > len(data):
            return
        control = bool(attributes & _CONTROL)
        kind = _marker(data, at + _HEADER.size) if control else None
        yield Batch(
            (producer, epoch),
            0 if control else count,
            bool(attributes & _TRANSACTIONAL),
            None if kind is None else kind != _ABORT,
        )
        at = end


def transactions(log: Path, prefix: str) -> Transactions:
    """Of the topics that begin with `prefix`, and of committed offsets, in a broker's log folder."""
    found = Transactions()
    for folder in sorted(log.iterdir()):
        topic = folder.name.rpartition("-")[0]
        if not (topic.startswith(prefix) or topic == "__consumer_offsets"):
            continue
        open_: dict[int, int] = defaultdict(int)
        for segment in sorted(folder.glob("*.log")):
            for batch in batches(segment):
                if batch.ends is None:
                    open_[batch.producer[0]] += batch.records if batch.transactional else 0
                    continue
                messages = open_.pop(batch.producer[0], 0)
                if batch.ends:
                    found.committed_markers += 1
                else:
                    found.aborted.add(batch.producer)
                    found.unseen[topic] += messages
    return found


def _marker(data: bytes, at: int) -> int:
    """The type in the key of a control record: 0 abort, 1 commit."""
    _, at = _varint(data, at)  # the record's length
    at += 1  # its attributes
    for _ in range(3):  # timestamp and offset deltas, the key's length
        _, at = _varint(data, at)
    return int(struct.unpack_from(">hh", data, at)[1])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint, and where it ends."""
    shift = value = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return (value >> 1) ^ -(value & 1), at
