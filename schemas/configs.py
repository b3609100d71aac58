"""Topic `configs`: stored documents by name, compacted. Anybody with the right may change one; the last word
counts."""

from __future__ import annotations

from pydantic import ConfigDict

from schemas.backfill import Backfill
from schemas.message import Instant, Message


class StoredConfig(Message):
    """A document as it is kept. Secrets in it are references, so that it may be shown and exported."""

    model_config = ConfigDict(hide_input_in_errors=True)

    name: str
    backfill: Backfill
    updated_at: Instant
    updated_by: str
    """Id of the token that wrote it."""
