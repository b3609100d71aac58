"""A chunk of a plan: what was resolved, as messages, with the checkpoint that accounts for them.

All of a chunk is published in one transaction. Its tasks alternate between hosts, so that no host's accounts
stand in the way of the others'.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from atp.identity import Identity
from atp.syntax import is_handle
from messaging.names import Names
from producers.sources.base import Entry
from schemas.deadletter import DeadLetter
from schemas.dids import DidTask
from schemas.errors import IdentifierInvalid, IdentityError, IdentityUnreachable, SkyfillError
from schemas.job_status import OTHERS, UNRESOLVED
from schemas.message import Message
from schemas.outcomes import JobEvent, PlanOutcome, RepoOutcome
from schemas.plans import PlanCheckpoint

LONGEST_DETAIL = 2000
"""Characters of a detail or of an entry that a message carries: users' files may hold anything."""
MOST_HOSTS = 5000
"""Hosts that one message names; documents lead wherever they like."""
Publication = tuple[str, str, Message]
"""Topic, key, value."""


@dataclass(frozen=True)
class Chunk:
    """What one transaction publishes of a plan. `failure`: the source can't be read any further."""

    tasks: list[DidTask]
    outcomes: list[RepoOutcome]
    dead_letters: list[DeadLetter]
    checkpoint: PlanCheckpoint
    failure: str | None = None
    notes: Sequence[str] = ()
    """What the source told of itself, for the job's user."""
    resolved: Mapping[str, int] = field(default_factory=dict)
    """How its entries were resolved; see schemas.outcomes.PlanOutcome."""

    def publications(self, names: Names, now: datetime) -> Iterator[Publication]:
        """Every message, tasks first, the checkpoint last."""
        job_id, checkpoint = self.checkpoint.job_id, self.checkpoint
        for task in interleave(self.tasks):
            yield names.dids, task.pds, task
        for outcome in self.outcomes:
            yield names.outcomes, job_id, outcome
        for letter in self.dead_letters:
            yield names.deadletter, letter.did or job_id, letter
        for note in self.notes:
            yield names.outcomes, job_id, JobEvent(job_id=job_id, event="noted", detail=note, at=now)
        if self.failure is not None:
            event = JobEvent(job_id=job_id, event="source_failed", detail=self.failure, at=now)
            yield names.outcomes, job_id, event
        yield (
            names.outcomes,
            job_id,
            PlanOutcome(
                job_id=job_id,
                planned=checkpoint.planned,
                duplicates=checkpoint.duplicates,
                left_out=checkpoint.left_out,
                hosts=self._hosts(),
                resolved=dict(self.resolved),
                finished=checkpoint.finished,
            ),
        )
        yield names.plans, job_id, checkpoint

    def _hosts(self) -> dict[str, int]:
        """Its accounts by host; hosts with few accounts share one place where there are too many."""
        counts = Counter(task.pds for task in self.tasks)
        counts.update(outcome.host or UNRESOLVED for outcome in self.outcomes)
        kept = dict(counts.most_common(MOST_HOSTS))
        if others := len(self.tasks) + len(self.outcomes) - sum(kept.values()):
            kept[OTHERS] = kept.get(OTHERS, 0) + others
        return kept


def interleave(tasks: Iterable[DidTask]) -> list[DidTask]:
    """One task of each host in turn, hosts in the order they came, each host's tasks in theirs."""
    by_host: dict[str, deque[DidTask]] = {}
    for task in tasks:
        by_host.setdefault(task.pds, deque()).append(task)
    turns = deque(by_host.values())
    mixed = []
    while turns:
        host = turns.popleft()
        mixed.append(host.popleft())
        if host:
            turns.append(host)
    return mixed


def task_of(job_id: str, entry: Entry, identity: Identity) -> DidTask:
    """The task of an account that was resolved."""
    return DidTask(
        job_id=job_id,
        did=identity.did,
        handle=identity.handle,
        pds=identity.pds,
        signing_key=identity.signing_key,
        rev=entry.rev,
    )


def listed_as_gone(job_id: str, entry: Entry, identity: Identity | None) -> RepoOutcome:
    """The outcome of an account whose own listing says that there is nothing to fetch."""
    return RepoOutcome(
        job_id=job_id,
        did=entry.account,
        handle=identity.handle if identity else None,
        host=identity.pds if identity else entry.host,
        status="unavailable",
        error_type="data_unavailable",
        reason=entry.gone,
        detail="listed as inactive",
    )


def out_of_scope(job_id: str, did: str, identity: Identity | None) -> RepoOutcome:
    """The outcome of an account that the job's scope leaves out."""
    return RepoOutcome(
        job_id=job_id,
        did=did,
        handle=identity.handle if identity else None,
        host=identity.pds if identity else None,
        status="skipped",
        error_type="scope_violation",
        reason="scope_violation",
    )


def unresolved(
    job_id: str, entry: Entry, error: SkyfillError, now: datetime
) -> tuple[RepoOutcome, DeadLetter | None]:
    """What became of an account that has no task.

    `unavailable` where its directory knows that there is nothing to fetch; else `failed`, with a dead
    letter that carries the entry: it can be planned again.
    """
    account, detail = shortened(entry.account), shortened(str(error))
    gone = isinstance(error, IdentityError) and not isinstance(error, IdentityUnreachable | IdentifierInvalid)
    outcome = RepoOutcome(
        job_id=job_id,
        did=account,
        handle=account if is_handle(account) else None,
        host=entry.host,
        status="unavailable" if gone else "failed",
        error_type=error.error_type,
        reason=error.reason,
        detail=detail,
    )
    if gone:
        return outcome, None
    return outcome, DeadLetter(
        stage="plan",
        error_type=error.error_type,
        reason=error.reason,
        detail=detail,
        host=entry.host,
        job_id=job_id,
        did=account,
        payload=account,
        at=now,
    )


def shortened(text: str) -> str:
    """At most LONGEST_DETAIL characters; surrogates, which JSON can't carry, replaced."""
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= LONGEST_DETAIL else clean[: LONGEST_DETAIL - 1] + "…"
