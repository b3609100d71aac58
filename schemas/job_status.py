"""Topics `ledger`, `job-status` and `job-hosts`: exact counts per job, and per job and host, compacted.

`Ledger` is the tracker's own state, `JobStatus` and `JobHost` what everybody reads; all are written in the
transaction that commits the outcomes they count. A job's messages have to fit into a message whatever comes,
so that nothing here may grow with hosts, and names are bounded (see stream_workers.tracker.counting).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from schemas.message import Count, Instant, Message

Status = Literal["queued", "processing", "paused", "complete", "partial_success", "error", "cancelled"]
UNRESOLVED = "(unresolved)"
"""Stands for the host of accounts that no host could be found for."""
OTHERS = "(others)"
"""Stands for all names beyond the first so many, and for those that are too long."""
FINAL: frozenset[Status] = frozenset({"complete", "partial_success", "error", "cancelled"})


class Counts(Message):
    """Accounts by what became of them, and what they brought. The tracker counts in place."""

    model_config = ConfigDict(frozen=False)

    completed: Count = 0
    skipped: Count = 0
    unavailable: Count = 0
    failed: Count = 0
    cancelled: Count = 0
    retrying: Count = 0
    """Accounts that failed at least once and still have attempts left; of the whole job, not by host."""
    records: Count = 0
    bytes: Count = 0
    by_type: dict[str, int] = Field(default_factory=dict)
    """Records by collection."""
    unavailable_by: dict[str, int] = Field(default_factory=dict)
    """Accounts that ended unavailable, by reason."""
    failed_by: dict[str, int] = Field(default_factory=dict)
    """Accounts that ended failed, by error type."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Records not published, by reason."""
    errors: dict[str, int] = Field(default_factory=dict)
    """Attempts that failed, by error type; whatever became of the account afterwards."""

    @property
    def terminal(self) -> int:
        """Accounts that are done with, one way or another."""
        return self.succeeded + self.failed + self.cancelled

    @property
    def succeeded(self) -> int:
        """Accounts whose records are where they belong, as far as there are any."""
        return self.completed + self.skipped + self.unavailable


class ErrorSample(Message):
    """One failed attempt, for people to look at. Secrets in the detail are masked."""

    reason: str
    detail: str | None = None
    host: str | None = None
    did: str | None = None
    at: Instant


class ErrorSummary(Message):
    """Attempts that failed with one error type. The tracker counts in place."""

    model_config = ConfigDict(frozen=False)

    retryable: Count = 0
    """Attempts after which another one was to come."""
    permanent: Count = 0
    """Attempts that were an account's last."""
    samples: list[ErrorSample] = Field(default_factory=list)
    """The latest few, of different reasons where there are."""


class HistoryEntry(Message):
    """Something that happened to a job: a command and what became of it, an end, a beginning."""

    at: Instant
    event: str
    detail: str | None = None


class JobHost(Message):
    """Topic `job-hosts`: one host's part in a job, keyed `{job id} {host}`, in the job's partition. The
    tracker counts in place."""

    model_config = ConfigDict(frozen=False)

    job_id: str
    host: str
    planned: Count = 0
    """Accounts that resolved to this host; some may have moved since and count elsewhere."""
    counts: Counts = Field(default_factory=Counts)
    newest_rev: str | None = None
    """The latest rev of a repository that was fetched from here."""


def host_key(job_id: str, host: str) -> str:
    """The key of a host's message in `job-hosts`; a job's id has no space in it."""
    return f"{job_id} {host}"


def job_of(key: str) -> str:
    """The job of a key of `job-hosts`."""
    return key.partition(" ")[0]


class _OfJob(Message):
    """What ledger and status have in common."""

    @model_validator(mode="before")
    @classmethod
    def _without_hosts(cls, data: Any) -> Any:
        """Messages from before hosts had a topic of their own carried their counts; those are let go."""
        return (
            {key: value for key, value in data.items() if key != "hosts"} if isinstance(data, dict) else data
        )


class Ledger(_OfJob):
    """All that the tracker must remember of a job, which it changes in place."""

    model_config = ConfigDict(frozen=False)

    job_id: str
    name: str | None = None
    state: Literal["unknown", "active", "paused", "cancelled", "rejected", "source_failed"] = "unknown"
    detail: str | None = None
    planned: Count = 0
    duplicates: Count = 0
    left_out: dict[str, int] = Field(default_factory=dict)
    """What the source held and is no account of the job, by reason."""
    plan_finished: bool = False
    replaying: Count = 0
    """Accounts whose dead letters are being replayed; until they end again, they count as failed."""
    replayed: Count = 0
    """Accounts whose dead letters were ever replayed, once for each time."""
    gathering: Count = 0
    """Hosts given up whose accounts are still being gathered for their replay."""
    totals: Counts = Field(default_factory=Counts)
    reasons: dict[str, int] = Field(default_factory=dict)
    """Accounts that ended skipped, unavailable or failed, by reason."""
    resolved: dict[str, int] = Field(default_factory=dict)
    """Entries of the source by how they were resolved: `source`, `known` (cache or mirror), `directory`."""
    errors: dict[str, ErrorSummary] = Field(default_factory=dict)
    """Attempts that failed, by error type."""
    history: list[HistoryEntry] = Field(default_factory=list)
    """The latest events, oldest first."""
    newest_rev: str | None = None
    """The latest rev of a repository that was fetched."""
    scheduled: bool = False
    """It is a schedule: it waits for its next time, and has no accounts of its own."""
    forced: bool = False
    """It was cancelled at once: whatever is counted after that never changes its status."""
    submitted_at: Instant | None = None
    started_at: Instant | None = None
    finished_at: Instant | None = None
    cancelled_at: Instant | None = None
    progressed_at: Instant | None = None
    """When the last outcome of an account or a plan was produced."""
    awaited_since: Instant | None = None
    """The last event after which outcomes are to come."""
    due_at: Instant | None = None
    """The latest time at which a next attempt is due, as far as was told."""
    stale_since: Instant | None = None


class JobStatus(_OfJob):
    """A job as its user sees it."""

    job_id: str
    name: str | None = None
    status: Status
    detail: str | None = None
    total: Count = 0
    """Accounts planned so far; final once `plan_finished`."""
    duplicates: Count = 0
    left_out: dict[str, int] = Field(default_factory=dict)
    """What the source held and is no account of the job, by reason."""
    plan_finished: bool = False
    replaying: Count = 0
    """Accounts whose dead letters are being replayed; until they end again, they count as failed."""
    replayed: Count = 0
    """Accounts whose dead letters were ever replayed, once for each time."""
    totals: Counts = Field(default_factory=Counts)
    reasons: dict[str, int] = Field(default_factory=dict)
    """Accounts that ended skipped, unavailable or failed, by reason."""
    resolved: dict[str, int] = Field(default_factory=dict)
    """Entries of the source by how they were resolved: `source`, `known` (cache or mirror), `directory`."""
    errors: dict[str, ErrorSummary] = Field(default_factory=dict)
    """Attempts that failed, by error type."""
    history: list[HistoryEntry] = Field(default_factory=list)
    """The latest events, oldest first."""
    newest_rev: str | None = None
    """The latest rev of a repository that was fetched."""
    scheduled: bool = False
    """It is a schedule: it stays queued and starts jobs of its own; `detail` says when."""
    source_failed: bool = False
    """Its source could not be read to the end: `detail` says why."""
    submitted_at: Instant | None = None
    started_at: Instant | None = None
    finished_at: Instant | None = None
    cancelled_at: Instant | None = None
    """When it was asked to end; it has once it is `cancelled`."""
    progressed_at: Instant | None = None
    """When the last outcome of an account or a plan was produced."""
    due_at: Instant | None = None
    """The latest time at which a next attempt is due, as far as was told; it may lie behind."""
    stale_since: Instant | None = None
    """Since when nothing has come though work is due; absent: the job is not stale."""
    updated_at: Instant

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self.status in FINAL

    @property
    def outstanding(self) -> int:
        """Planned accounts without a terminal outcome, and those that are to have another one."""
        return self.total - self.totals.terminal + self.replaying
