"""Accounts that need no fetch, or only what is new, since their records are in the job's stores already.

What is recorded in `repos` decides (`RepoState.covers`); whatever is in doubt is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Protocol

from messaging.names import Names
from messaging.stored_view import StoredView
from producers.chunk import Chunk
from schemas.backfill import Backfill
from schemas.dids import DidTask
from schemas.outcomes import RepoOutcome
from schemas.repos import RepoState
from schemas.settings import Settings

Decision = Literal["fetch", "skip", "since"]


class States(Protocol):
    """Where recorded states are looked up."""

    def get(self, key: str, /) -> RepoState | None:
        """The newest state of a DID, if any."""


class ExistingAccounts:
    """Life: made, `ready` until it is true and `spare` for each chunk of a plan, `close` whenever its owner
    has no more use for it.

    The view is opened by the first job that asks for it; others never wait for it.
    """

    def __init__(self, open_view: Callable[[], StoredView[RepoState]]) -> None:
        self._open_view = open_view
        self._view: StoredView[RepoState] | None = None

    def ready(self, backfill: Backfill, patience: float) -> bool:
        """Whether the next chunk of this job may be judged; reads on in `repos` for so many seconds."""
        if not backfill.skip_existing:
            return True
        if self._view is None:
            self._view = self._open_view()
        return self._view.advance(patience)

    def spare(self, chunk: Chunk, backfill: Backfill) -> Chunk:
        """The chunk with as few fetches as the job allows."""
        return chunk if self._view is None else spare(chunk, backfill, self._view)

    def close(self) -> None:
        """Leaves the topic and the file, so that another planner may have it."""
        if self._view is not None:
            self._view.close()
            self._view = None


def open_states(settings: Settings) -> StoredView[RepoState]:
    """What is recorded of accounts, kept under the data folder."""
    topic = Names(settings.kafka.topic_prefix).repos
    return StoredView(settings.kafka, topic, RepoState.decode, settings.data_dir / "views" / f"{topic}.db")


def spare(chunk: Chunk, backfill: Backfill, states: States) -> Chunk:
    """The chunk with skipped accounts as outcomes, and tasks that know what the stores have."""
    if not backfill.skip_existing:
        return chunk
    tasks, outcomes = [], list(chunk.outcomes)
    for task in chunk.tasks:
        state = states.get(task.did)
        match decide(backfill, state, task.rev):
            case "skip":
                assert state is not None
                outcomes.append(_skipped(task, state))
            case "since":
                assert state is not None
                tasks.append(task.model_copy(update={"since": state.rev, "since_commit": state.commit}))
            case _:
                tasks.append(task)
    return replace(chunk, tasks=tasks, outcomes=outcomes)


def decide(backfill: Backfill, state: RepoState | None, rev: str | None) -> Decision:
    """What to do with an account. `rev`: what the source lists as its repository's, which may be old itself.

    `skip_existing: true` takes a recorded account for done unless the source knows of a later rev; `since`
    takes its word only for the contrary, and else asks the host.
    """
    if not backfill.skip_existing or state is None or not state.covers(backfill):
        return "fetch"
    is_current = rev is not None and rev <= state.rev
    if backfill.skip_existing == "since":
        return "skip" if is_current else "since"
    return "skip" if is_current or rev is None else "fetch"


def _skipped(task: DidTask, state: RepoState) -> RepoOutcome:
    return RepoOutcome(
        job_id=task.job_id,
        did=task.did,
        handle=task.handle,
        host=task.pds,
        status="skipped",
        reason="Existing",
        strategy=state.strategy,
        proof=state.proof,
        rev=state.rev,
        fetched_at=state.fetched_at,
    )
