"""Topic `webhooks`: what became of each notice of a job to each URL, compacted, in the job's partition."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from schemas.message import Count, Instant, Message

NoticeEvent = Literal["complete", "partial_success", "error", "cancelled", "stale"]
NOTICE_EVENTS: tuple[NoticeEvent, ...] = ("complete", "partial_success", "error", "cancelled", "stale")


def check_webhook_url(url: str) -> str:
    """The URL, if a notice can be posted there. ValueError for another, which does not repeat it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("it is no URL") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0 or re.search(r"\s", url):
        raise ValueError("it has to be a URL that begins with https:// and names a host")
    if "@" in parts.netloc:
        raise ValueError("it may not carry a name or password before the host; notices are signed instead")
    return url


def shown_url(url: str) -> str:
    """The URL without what may be secret in it: its query, and anything before the host."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


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
