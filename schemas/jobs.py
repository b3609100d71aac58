"""Topic `jobs`: commands, keyed by job id. Anybody may publish one; the planner alone reads them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from schemas.message import Message

MOST_LETTERS = 1000
"""Dead letters in one command: what follows from it is one transaction."""


class JobMessage(Message):
    """A command about one job. `backfill` stays unread here: a bad document is the planner's to judge."""

    model_config = ConfigDict(hide_input_in_errors=True)

    action: Literal["start", "cancel", "pause", "resume", "replay"] = "start"
    backfill: dict[str, Any] | None = None
    force: bool = False
    """Of `cancel`: the job has ended at once; what is under way still ends by itself."""
    letters: list[str] | None = None
    """Of `replay`: the dead letters of this job that are to be replayed, each as `partition:offset`."""
