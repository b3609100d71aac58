"""Topic `plans`: how far the planner is with a job's source, keyed by job id, compacted."""

from __future__ import annotations

from schemas.message import Count, Message


class PlanCheckpoint(Message):
    """Written in the same transaction as the tasks it accounts for."""

    job_id: str
    cursor: Count = 0
    """Entries of the source that are dealt with, from its beginning."""
    checksum: Count = 0
    """CRC-32 of these entries, each with a line feed: it tells when the source changed meanwhile."""
    planned: Count = 0
    """Accounts so far: tasks published and accounts that ended in the planner."""
    duplicates: Count = 0
    """Entries that named an account again."""
    finished: bool = False
