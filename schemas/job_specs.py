"""Topic `job-specs`: what the planner made of the commands, keyed by job id, compacted."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from schemas.backfill import Backfill
from schemas.message import Instant, Message

JobState = Literal["active", "paused", "cancelled"]


class JobSpec(Message):
    """A job as everybody has to see it. `backfill` never changes; `state` is what the user last asked for."""

    model_config = ConfigDict(hide_input_in_errors=True)

    job_id: str
    backfill: Backfill
    state: JobState = "active"
    submitted_at: Instant
