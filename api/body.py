"""What a request brings: read within a bounded size and time, as JSON or YAML."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from fastapi import Request

from api.problems import Problem

JSON_TYPES = frozenset({"application/json"})
YAML_TYPES = frozenset({"application/yaml", "text/yaml", "application/x-yaml", "text/x-yaml"})
_READ_SECONDS = 30.0
_HANG_UP = {"Connection": "close"}
"""Or else the rest would still be read, to find where the next request begins."""


@dataclass(frozen=True)
class Body:
    """Text, and in which of the two it is written."""

    text: str
    form: Literal["json", "yaml"]

    def json(self) -> Any:
        """What it says, if it is JSON. Problem 422 if it is none."""
        try:
            return orjson.loads(self.text)
        except orjson.JSONDecodeError as error:
            raise Problem(422, "invalid-json", f"the body is not JSON: {error}") from error


async def read_body(request: Request, most: int) -> Body:
    """The body, of at most `most` bytes. Problem 413, 415, 408 or 422."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in JSON_TYPES | YAML_TYPES:
        raise Problem(
            415,
            "unsupported-media-type",
            "send the body as application/json or application/yaml, and say so in Content-Type",
            headers={"Accept": "application/json, application/yaml"},
        )
    raw = await read_bytes(request, most)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problem(422, "invalid-text", f"the body is not UTF-8 text (byte {error.start})") from error
    return Body(text, "json" if media_type in JSON_TYPES else "yaml")


async def read_json(request: Request, most: int) -> Any:
    """What a body says that has to be JSON; None for an empty one. Problem 413, 415, 408 or 422."""
    if not request.headers.get("content-type") and not await read_bytes(request, most):
        return None
    body = await read_body(request, most)
    if body.form != "json":
        raise Problem(415, "unsupported-media-type", "this takes application/json alone")
    return body.json() if body.text else None


async def read_bytes(request: Request, most: int) -> bytes:
    """The body as it came, of at most `most` bytes. Problem 413 or 408."""
    too_large = Problem(
        413,
        "body-too-large",
        f"a body may have {most:,} bytes; put accounts into a file",
        headers=_HANG_UP,
    )
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_READ_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise too_large
                parts.append(part)
    except TimeoutError:
        late = f"the body did not come within {_READ_SECONDS:.0f} s"
        raise Problem(408, "body-too-slow", late, headers=_HANG_UP) from None
    return b"".join(parts)
