"""The dead letters of a sink: what no store took, with all that a person needs to judge it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from pydantic import ValidationError

from messaging.clients import MESSAGE_BYTES
from messaging.polling import Delivered
from schemas.deadletter import DeadLetter
from schemas.errors import RowRefused
from sinks.rows import Row, Sync

_LARGEST = MESSAGE_BYTES - 64 * 1024


def malformed(message: Delivered, error: ValidationError) -> DeadLetter:
    """A message of `records` that is no event."""
    problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
    return _with_payload(
        DeadLetter(
            stage="sink",
            error_type="sink_failed",
            reason="ValidationError",
            detail=f"{_place(message)} holds no record event: {problems}"[:2000],
            did=message.key or None,
            at=datetime.now(UTC),
        ),
        message,
    )


def orphaned(message: Delivered, row: Row | Sync) -> DeadLetter:
    """The first row of an account for a job that was never started."""
    return DeadLetter(
        stage="sink",
        error_type="sink_failed",
        reason="UnknownJob",
        detail=f"from {_place(message)} on, rows of this account belong to a job that is not in job-specs: "
        f"nothing says where to store them, so none was. Start a job for the account to fetch it again",
        job_id=row.job,
        did=row.did,
        at=datetime.now(UTC),
    )


def refused(message: Delivered, row: Row, destination: str, error: RowRefused) -> DeadLetter:
    """A row that one store can never take."""
    return _with_payload(
        DeadLetter(
            stage="sink",
            error_type=error.error_type,
            reason=error.reason,
            detail=f"{_place(message)}, for {destination}: {error}",
            job_id=row.job,
            did=row.did,
            uri=row.uri,
            at=datetime.now(UTC),
        ),
        message,
    )


def _place(message: Delivered) -> str:
    return f"{message.topic} [{message.partition}] offset {message.offset}"


def _with_payload(letter: DeadLetter, message: Delivered) -> DeadLetter:
    """The letter with the message, as text or bytes; without it where both would not fit one message."""
    value = message.value or b""
    try:
        full = letter.model_copy(update={"payload": value.decode()})
    except UnicodeDecodeError:
        full = letter.model_copy(update={"block": base64.b64encode(value).decode()})
    if len(full.encode()) <= _LARGEST:
        return full
    detail = f"{letter.detail} (its {len(value)} bytes do not fit a dead letter)"
    return letter.model_copy(update={"detail": detail})
