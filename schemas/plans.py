"""Topic `plans`: how far the planner is with a job's source, keyed by job id, compacted."""

from __future__ import annotations

from pydantic import Field

from schemas.message import Count, Message


class PlanCheckpoint(Message):
    """Written in the same transaction as the tasks it accounts for."""

    job_id: str
    cursor: str | None = None
    """Where the source goes on; only the source knows how to read it. Absent: at its beginning."""
    chunk: Count = 0
    """Chunks published so far."""
    seen: str | None = None
    """Name of the table of accounts met that belongs to this plan. One of another name is not complete."""
    planned: Count = 0
    """Accounts so far: tasks published and accounts that ended in the planner."""
    duplicates: Count = 0
    """Entries that named an account again."""
    left_out: dict[str, int] = Field(default_factory=dict)
    """What the source held and is no account of this job, by reason: malformed rows, hosts out of reach, …"""
    finished: bool = False
    run: str | None = None
    """Of a schedule, whose `cursor` is the last due time dealt with and whose `chunk` counts its runs: the
    job id of the last one."""
