"""Pages: a cursor is what the page before gave, and says nothing to anybody else."""

from __future__ import annotations

import base64
from typing import Annotated, Any

import orjson
from fastapi import Query

from api.problems import Problem

MOST = 500
Cursor = Annotated[
    str | None,
    Query(description="`next_cursor` of the page before; absent: the first page.", max_length=1000),
]
Limit = Annotated[int, Query(description="Entries of a page at the most.", ge=1, le=MOST)]


def cursor_of(*parts: str | int) -> str:
    """A cursor that stands for these."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode()


def read_cursor(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """What a cursor stands for, each part of its kind; None for the first page. Problem 422."""
    if cursor is None:
        return None
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        parts = None
    fits = isinstance(parts, list) and len(parts) == len(kinds)
    if not fits or not all(type(part) is kind for part, kind in zip(parts, kinds, strict=True)):
        raise Problem(422, "invalid-cursor", "this cursor is none of this server's; begin without one")
    if any(isinstance(part, int) and not 0 <= part < 2**62 for part in parts):
        raise Problem(422, "invalid-cursor", "this cursor is none of this server's; begin without one")
    return tuple(parts)
