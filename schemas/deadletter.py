"""Topic `deadletter`: what was given up, with its reason and all that a replay needs, keyed by DID."""

from __future__ import annotations

from typing import Literal

from schemas.errors import ErrorType
from schemas.message import Count, Instant, Message


class DeadLetter(Message):
    """One thing that will not be tried again by itself."""

    stage: Literal["plan", "fetch", "record", "track", "sink"]
    error_type: ErrorType
    reason: str
    detail: str = ""
    job_id: str | None = None
    did: str | None = None
    host: str | None = None
    uri: str | None = None
    attempts: Count = 1
    payload: str | None = None
    """The command or task that failed, as the text it was."""
    block: str | None = None
    """The record's raw block, as base64."""
    at: Instant
