"""How far one partition of `records` was read and stored, destination by destination.

The committed offset is the first row that some destination still lacks. What other destinations have
beyond it travels as the offset's metadata, so that they are not given it twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import orjson

DEAD_LETTERS = "dead letters"
"""A destination like the others: a dead letter is not published twice either."""
_METADATA_BYTES = 4_000
"""The broker takes 4,096."""

Point = tuple[int, str]
"""An offset to commit, and its metadata."""


class Progress:
    """Life: made from what was committed; `took` and `reached` as messages come; `point` to commit."""

    def __init__(self, committed: int, metadata: str = "") -> None:
        """Both as `point` returned them when they were committed."""
        self.position = committed
        """The next offset to read: rows, markers and aborted batches below it are behind."""
        self._taken: dict[str, int] = {}
        self._restored = {key: committed + beyond for key, beyond in _decode(metadata).items()}
        self._restored_end = max(self._restored.values(), default=0)
        self._committed: Point = (committed, metadata)

    def wants(self, destination: str, offset: int) -> bool:
        """Whether the destination lacks this offset, as far as was noted."""
        return offset >= self._restored_end or offset >= self._restored.get(_key(destination), 0)

    def took(self, destination: str, offset: int) -> None:
        """The destination was given this offset."""
        self._taken[destination] = offset + 1

    def reached(self, position: int) -> None:
        """All below `position` was delivered or holds no message."""
        self.position = max(self.position, position)

    def point(self, unstored: Mapping[str, int]) -> Point:
        """What to commit, given each destination's first row not stored."""
        offset = min(unstored.values(), default=self.position)
        done = {_key(destination): end for destination, end in (self._taken | dict(unstored)).items()}
        beyond = {key: end - offset for key, end in (self._restored | done).items() if end > offset}
        return offset, _encode(beyond)

    def changed(self, point: Point) -> bool:
        """Whether `point` differs from what was committed last."""
        return point != self._committed

    def committed(self, point: Point) -> None:
        """`point` is now the broker's."""
        self._committed = point
        self._taken = {destination: end for destination, end in self._taken.items() if end > point[0]}
        self._restored = {key: end for key, end in self._restored.items() if end > point[0]}


def _key(destination: str) -> str:
    return hashlib.sha256(destination.encode()).hexdigest()[:12]


def _encode(beyond: Mapping[str, int]) -> str:
    """JSON. Where it would not fit, the destinations least far ahead are left to what their store knows."""
    first = _key(DEAD_LETTERS)
    entries = sorted(beyond.items(), key=lambda entry: (entry[0] != first, -entry[1]))
    while entries:
        text = orjson.dumps(dict(entries)).decode()
        if len(text) <= _METADATA_BYTES:
            return text
        entries.pop()
    return ""


def _decode(metadata: str) -> dict[str, int]:
    return dict(orjson.loads(metadata)) if metadata else {}
