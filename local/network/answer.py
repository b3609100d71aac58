"""What a simulated service answers to one request, before faults of the wire are applied to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """A status, a body, and whether the body is sent in chunks. ``lines`` stream after the body."""

    status: int
    body: bytes
    content_type: str = JSON
    chunked: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    lines: AsyncIterator[bytes] | None = None


class Service(Protocol):
    """One origin: a PDS, the PLC directory or the relay."""

    async def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """The answer to GET ``path``. Gives way to other requests between one account and the next."""
        ...


def json_answer(value: Any, *, status: int = 200, content_type: str = JSON) -> Answer:
    return Answer(status, orjson.dumps(value), content_type)


def xrpc_error(error: str, message: str, *, status: int = 400) -> Answer:
    """An error as XRPC puts it: {"error", "message"}."""
    return json_answer({"error": error, "message": message}, status=status)


def bounded(query: Mapping[str, str], name: str, *, default: int, most: int) -> int | None:
    """An integer parameter between 1 and ``most``; None where the request's value is anything else."""
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        return None
    value = int(text)
    return value if 1 <= value <= most else None
