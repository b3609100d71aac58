"""Topic `outcomes`: what became of each account and each plan, keyed by job id.

Written in the transaction that publishes what it counts, read by the tracker alone for exact figures.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from schemas.errors import ErrorType
from schemas.message import Count, Instant, Message

OutcomeStatus = Literal["completed", "skipped", "unavailable", "failed", "retrying", "cancelled"]


class Replaced(Message):
    """The outcome whose dead letter was replayed: a replay's own outcome takes its place in all counts."""

    letter: str
    """Partition and offset of the dead letter, e.g. `2:1041`."""
    did: str
    """As in the outcome replaced: for an entry that never resolved, the entry as the source wrote it."""
    host: str | None = None
    status: Literal["failed"] = "failed"
    error_type: ErrorType | None = None
    reason: str | None = None


class RepoOutcome(Message):
    """One attempt at one account. Every status but `retrying` is terminal."""

    kind: Literal["repo"] = "repo"
    job_id: str
    did: str
    """The DID; for an entry that never resolved, the entry as the source wrote it."""
    handle: str | None = None
    host: str | None = None
    status: OutcomeStatus
    error_type: ErrorType | None = None
    reason: str | None = None
    detail: str | None = None
    attempt: Count = 1
    replay: Count = 0
    """How often the account's dead letter was replayed; 0 for its first life."""
    replaces: Replaced | None = None
    """Of a replay: what its terminal outcome takes the place of."""
    strategy: str | None = None
    proof: Literal["commit", "cid"] | None = None
    rev: str | None = None
    records: dict[str, int] = Field(default_factory=dict)
    """Records published, by collection."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Records not published, by reason: `record_type`, `time_range`, `uri`, `invalid`, `too_large`,
    `cid_mismatch`. Strategy `list` counts only those that it has listed."""
    undated: Count = 0
    """Records whose day came from the TID, or that have none, for want of a usable createdAt."""
    bytes: Count = 0
    seconds: Annotated[float, Field(ge=0)] = 0
    fetched_at: Instant | None = None


class PlanOutcome(Message):
    """How many accounts the job has so far; `finished` when there will be no more."""

    kind: Literal["plan"] = "plan"
    job_id: str
    planned: Count
    duplicates: Count = 0
    left_out: dict[str, int] = Field(default_factory=dict)
    """What the source held and is no account of the job, by reason."""
    finished: bool = False


class JobEvent(Message):
    """What the planner made of a command, of a schedule, or of a source that failed or that it read only in
    part."""

    kind: Literal["job"] = "job"
    job_id: str
    event: Literal[
        "submitted",
        "paused",
        "resumed",
        "cancelled",
        "rejected",
        "ignored",
        "source_failed",
        "noted",
        "replayed",
        "scheduled",
    ]
    name: str | None = None
    detail: str | None = None
    command: Count | None = None
    """Offset in `jobs` of the command that this answers."""
    count: Count | None = None
    """Of `replayed`: accounts that are tried again from now on; each will have one more terminal outcome."""
    gathering: Count | None = None
    """Of `replayed`: hosts given up whose accounts are still being gathered for their replay."""
    letters: Count | None = None
    """Of `replayed`: dead letters that were accepted."""
    refused: dict[str, list[str]] | None = None
    """Dead letters that are not replayed, by the reason why."""
    forced: bool = False
    """Of `cancelled`: the job has ended at once."""
    at: Instant


Outcome = Annotated[RepoOutcome | PlanOutcome | JobEvent, Field(discriminator="kind")]
_adapter: TypeAdapter[RepoOutcome | PlanOutcome | JobEvent] = TypeAdapter(Outcome)


def decode_outcome(value: bytes) -> RepoOutcome | PlanOutcome | JobEvent:
    """Reads a message of the topic; pydantic's ValidationError if it doesn't fit."""
    return _adapter.validate_json(value)
