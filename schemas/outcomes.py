"""Topic `outcomes`: what became of each account and each plan, keyed by job id.

Written in the transaction that publishes what it counts, read by the tracker alone for exact figures.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from schemas.errors import ErrorType
from schemas.message import Amount, Instant, Message

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
    attempt: Amount = 1
    replay: Amount = 0
    """How often the account's dead letter was replayed; 0 for its first life."""
    replaces: Replaced | None = None
    """Of a replay: what its terminal outcome takes the place of."""
    strategy: str | None = None
    proof: Literal["commit", "cid"] | None = None
    rev: str | None = None
    records: dict[str, Amount] = Field(default_factory=dict)
    """Records published, by collection."""
    dropped: dict[str, Amount] = Field(default_factory=dict)
    """Records not published, by reason: `record_type`, `time_range`, `uri`, `invalid`, `too_large`,
    `cid_mismatch`. Strategy `list` counts only those that it has listed."""
    undated: Amount = 0
    """Records whose day came from the TID, or that have none, for want of a usable createdAt."""
    bytes: Amount = 0
    seconds: Annotated[float, Field(ge=0)] = 0
    fetched_at: Instant | None = None
    due_at: Instant | None = None
    """Of `retrying`: when the next attempt is due."""


class PlanOutcome(Message):
    """How many accounts the job has so far; `finished` when there will be no more."""

    kind: Literal["plan"] = "plan"
    job_id: str
    planned: Amount
    duplicates: Amount = 0
    left_out: dict[str, Amount] = Field(default_factory=dict)
    """What the source held and is no account of the job, by reason."""
    hosts: dict[str, Amount] = Field(default_factory=dict)
    """The accounts of this chunk by host: an increment; the figures above are the whole plan's."""
    resolved: dict[str, Amount] = Field(default_factory=dict)
    """How the entries of this chunk were resolved: by the `source` itself, as `known` (from cache or mirror),
    or by the `directory`, which was asked."""
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
    command: Amount | None = None
    """Offset in `jobs` of the command that this answers."""
    count: Amount | None = None
    """Of `replayed`: accounts that are tried again from now on; each will have one more terminal outcome."""
    gathering: Amount | None = None
    """Of `replayed`: hosts given up whose accounts are still being gathered for their replay."""
    letters: Amount | None = None
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
