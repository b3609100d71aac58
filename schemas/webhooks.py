"""Topic `webhooks`: what became of each notice of a job to each URL, compacted, in the job's partition."""

from __future__ import annotations

from typing import Literal

from schemas.message import Count, Instant, Message

NoticeEvent = Literal["complete", "partial_success", "error", "cancelled", "stale"]
NOTICE_EVENTS: tuple[NoticeEvent, ...] = ("complete", "partial_success", "error", "cancelled", "stale")


class Delivery(Message):
    """One notice to one URL. Keyed by its id, which receivers get as `webhook-id`: they may see it twice."""

    id: str
    job_id: str
    event: NoticeEvent
    url: str
    """Without its query, which may hold a secret."""
    occurred_at: Instant
    attempts: Count = 0
    next_at: Instant | None = None
    """When it is tried again; absent: never."""
    delivered_at: Instant | None = None
    detail: str | None = None
    """How the last attempt failed."""
    updated_at: Instant
