"""Topic `deadletter`: what was given up, with its reason and all that a replay needs, keyed by DID."""

from __future__ import annotations

from typing import Literal

from schemas.errors import ErrorType
from schemas.message import Count, Instant, Message

_PAYLOAD_CHARACTERS = 256 * 1024
"""JSON writes a character as up to six bytes: with these the letter fits a message."""


def payload_text(value: bytes) -> str:
    """A message as the payload of its dead letter: text, cut where the letter would not fit a message."""
    text = value.decode("utf-8", "replace")
    if len(text) <= _PAYLOAD_CHARACTERS:
        return text
    return f"{text[:_PAYLOAD_CHARACTERS]}… (cut; {len(value)} bytes)"


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
