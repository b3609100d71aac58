"""Topic `repos`: the newest fetched state of each account, keyed by DID, compacted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.backfill import Backfill, ParquetStorage, Storage
from schemas.message import Count, Instant, Message
from schemas.record_types import contains


class RepoState(Message):
    """What is known to be in the stores of `destinations`."""

    did: str
    rev: str
    commit: str
    strategy: str
    proof: Literal["commit", "cid"]
    selection: str
    """Fingerprint of the job's selection (record types, time range, URIs)."""
    record_types: list[str] = Field(default_factory=list)
    """The selection's record types as the document named them, sorted; empty: all."""
    narrowed: bool = True
    """Whether a time range or URIs left out some of these; absent: nobody knows."""
    destinations: list[str]
    records: Count
    job_id: str
    fetched_at: Instant

    def covers(self, backfill: Backfill) -> bool:
        """Whether all that this job wants of the account, as it was at `rev`, is in all its stores.

        Only a whole repository, proven up to the signature, or one that was followed on from there by its
        differences, says so: pages and windows are no base.
        """
        return (
            self.proof == "commit"
            and self.rev != ""
            and not self.narrowed
            and contains(self.record_types, backfill.record_types)
            and set(self.destinations) >= set(destinations_of(backfill))
        )


def is_narrowed(backfill: Backfill) -> bool:
    """Whether the job's selection is by more than record types."""
    days = backfill.time_range
    return bool(backfill.uris) or (days is not None and (days.start_date or days.end_date) is not None)


def destinations_of(backfill: Backfill) -> list[str]:
    """The job's stores, each by a name that two jobs share exactly if they share the store."""
    return [_destination(storage) for storage in backfill.storage]


def _destination(storage: Storage) -> str:
    if isinstance(storage, ParquetStorage):
        return f"parquet:{storage.path}"
    return f"dynamodb:{storage.region or ''}/{storage.table_name}"
