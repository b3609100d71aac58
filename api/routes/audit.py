"""The audit, for admins: who did what, the newest first."""

from __future__ import annotations

import asyncio
from itertools import islice

from fastapi import APIRouter
from pydantic import BaseModel, Field, ValidationError

from api.auth import Admin
from api.paging import Cursor, Limit, cursor_of, read_cursor
from api.problems import described
from api.routes.jobs import Serving
from messaging import clients
from messaging.names import Names
from messaging.scan import scan
from messaging.topics import end_offsets
from schemas.audit import AuditEntry
from schemas.settings import KafkaSettings

router = APIRouter(prefix="/api/backfill", tags=["tokens"])
_PATIENCE_SECONDS = 5.0


class AuditList(BaseModel):
    """A page of entries, the newest first."""

    entries: list[AuditEntry]
    next_cursor: str | None = Field(description="`cursor` of the next page; null: there is none.")


@router.get("/audit", responses=described())
async def read_audit(
    services: Serving, _caller: Admin, cursor: Cursor = None, limit: Limit = 50
) -> AuditList:
    """Requests that changed something or were refused: who, what, when, from where, and what came of it."""
    begin = read_cursor(cursor, int)
    async with services.scans:
        return await asyncio.to_thread(_page, services.settings.kafka, begin[0] if begin else None, limit)


def _page(kafka: KafkaSettings, before: int | None, limit: int) -> AuditList:
    """The `limit` messages before an offset; without one before the end. The topic has one partition, and
    nobody writes to it in transactions, so that offsets are places in a list."""
    topic = Names(kafka.topic_prefix).audit
    end = end_offsets(clients.admin(kafka), topic, [0], patience=_PATIENCE_SECONDS)[0]
    until = end if before is None else min(before, end)
    first = max(0, until - limit)
    found = []
    earliest = until
    for message in islice(scan(kafka, topic, 0, None, begin=first, until=until), limit):
        earliest = min(earliest, message.offset)
        try:
            found.append(AuditEntry.decode(message.value or b""))
        except ValidationError:
            continue  # of another version, or somebody else's
    # What the broker has let go of is no page any more.
    more = first > 0 and earliest == first
    return AuditList(entries=found[::-1], next_cursor=cursor_of(first) if more else None)
