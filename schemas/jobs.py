"""Topic `jobs`: commands, keyed by job id. Anybody may publish one; the planner alone reads them."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import ConfigDict

from schemas.message import Message
from schemas.section import NAME_PATTERN

MOST_LETTERS = 1000
"""Dead letters in one command: what follows from it is one transaction."""
LONGEST_JOB_ID = 200


def is_job_id(text: str) -> bool:
    """Whether a text may name a job: it becomes part of keys, of paths, of URLs and of terminals' lines."""
    return len(text) <= LONGEST_JOB_ID and re.fullmatch(NAME_PATTERN, text) is not None


class JobMessage(Message):
    """A command about one job. `backfill` stays unread here: a bad document is the planner's to judge."""

    model_config = ConfigDict(hide_input_in_errors=True)

    action: Literal["start", "cancel", "pause", "resume", "replay"] = "start"
    backfill: dict[str, Any] | None = None
    force: bool = False
    """Of `cancel`: the job has ended at once; what is under way still ends by itself."""
    letters: list[str] | None = None
    """Of `replay`: the dead letters of this job that are to be replayed, each as `partition:offset`."""
