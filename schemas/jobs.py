"""Topic `jobs`: commands, keyed by job id. Anybody may publish one; the planner alone reads them."""

from __future__ import annotations

from typing import Any, Literal

from schemas.message import Message


class JobMessage(Message):
    """A command about one job. `backfill` stays unread here: a bad document is the planner's to judge."""

    action: Literal["start", "cancel", "pause", "resume"] = "start"
    backfill: dict[str, Any] | None = None
