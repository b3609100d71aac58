"""Topic `repos`: the newest fetched state of each account, keyed by DID, compacted."""

from __future__ import annotations

from typing import Literal

from schemas.message import Count, Instant, Message


class RepoState(Message):
    """What is known to be in the stores of `destinations`."""

    did: str
    rev: str
    commit: str
    strategy: str
    proof: Literal["commit", "cid"]
    selection: str
    """Fingerprint of the job's selection (record types, time range, URIs)."""
    destinations: list[str]
    records: Count
    job_id: str
    fetched_at: Instant
