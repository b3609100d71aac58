"""Topic `audit`: who did what through the API, keyed by token id, kept for a year."""

from __future__ import annotations

from schemas.message import Count, Instant, Message


class AuditEntry(Message):
    """One request that changed something, or was refused."""

    at: Instant
    token: str | None = None
    """Id of the token; absent: there was none, or it is not known."""
    name: str | None = None
    role: str | None = None
    method: str
    path: str
    what: str
    """The operation, e.g. `start_job`."""
    subject: str | None = None
    """The job, config or token that it was about."""
    address: str
    """Where the request came from."""
    status: Count
    """Of the answer."""
    detail: str | None = None
    request_id: str
