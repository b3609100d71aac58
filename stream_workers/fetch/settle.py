"""Endings to messages: everything an account's go brought is published whole, then its task is finished.

The lock is the task stream's: nobody else publishes, commits or rebalances meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import assert_never

import orjson

from messaging.names import Names
from messaging.task_stream import Task, TaskStream
from messaging.transactions import TransactionalPublisher
from schemas.deadletter import DeadLetter
from schemas.dids import DidTask
from schemas.errors import FencedError
from schemas.job_specs import JobSpec
from schemas.outcomes import OutcomeStatus, RepoOutcome
from schemas.records import sync_event
from schemas.repos import RepoState, destinations_of, is_narrowed
from stream_workers.fetch.ending import (
    Cancelled,
    Ending,
    Failed,
    Fetched,
    GivenUp,
    Requeued,
    Retry,
    Unchanged,
    Unreadable,
)
from stream_workers.fetch.schedule import Work

_SLICE = 1000


class _GivenUp(Exception):
    """The task's partition went away meanwhile."""


class Settler:
    """Life: `settle` each ending, or `settle_large`, and `commit` about once a second.

    For one thread each, beside the consumer's.
    """

    def __init__(
        self,
        names: Names,
        stream: TaskStream,
        publisher: TransactionalPublisher,
        large: TransactionalPublisher,
        lock: threading.RLock,
        clock: Callable[[], float],
        settled: Callable[[Ending], None] = lambda ending: None,
    ) -> None:
        """`large` takes repositories too large to hold, each in a transaction of its own; `settled` is told
        of each ending that was published."""
        self._names, self._stream, self._lock, self._clock = names, stream, lock, clock
        self._publisher, self._large = publisher, large
        self._settled: list[Task] = []
        self._tell = settled

    def settle(self, work: Work, ending: Ending, spec: JobSpec | None, selection: str) -> bool:
        """Publishes what the ending means, and finishes the task. False: its partition is no longer ours."""
        with self._lock:
            if not self._stream.held(work.task):
                return False
            self._publish(work, ending, spec, selection)
            self._finish(work, ending)
            return True

    def settle_all(self, works: Iterable[Work], ending: Cancelled) -> None:
        """The same for many tasks at once, none of which was begun."""
        with self._lock:
            for work in works:
                self.settle(work, ending, None, "")

    def settle_large(self, work: Work, got: Fetched, spec: JobSpec, selection: str) -> bool:
        """The same for a repository too large to hold, which takes long and holds up nobody: the lock is
        taken for its end only. For a thread of its own."""
        try:
            for events in _slices(got.events):
                if not self._stream.held(work.task):
                    raise _GivenUp
                self._large.publish_all(self._names.records, work.did_task.did, events)
            with self._lock:
                if not self._stream.held(work.task):
                    raise _GivenUp
                self._conclude(self._large, work.did_task, got, spec, selection)
                self.commit()
                self._finish(work, got)
                self._commit_on(self._large)
        except _GivenUp:
            self._large.abort()
            return False
        return True

    def commit(self) -> None:
        """Commits the open transaction with the offsets of all it settled. FencedError: end the process."""
        with self._lock:
            self._commit_on(self._publisher)

    def _commit_on(self, publisher: TransactionalPublisher) -> None:
        offsets = self._stream.offsets()
        if not offsets and not publisher.in_transaction:
            return
        if not all(self._stream.held(task) for task in self._settled):
            raise FencedError("a partition went away while its transaction was open")
        publisher.commit(offsets, self._stream.membership)
        self._stream.mark_committed(offsets)
        self._settled.clear()

    def _publish(self, work: Work, ending: Ending, spec: JobSpec | None, selection: str) -> None:
        publisher = self._publisher
        task = work.did_task
        match ending:
            case Fetched():
                assert spec is not None
                assert ending.messages is not None
                publisher.publish_all(self._names.records, task.did, ending.messages)
                self._conclude(publisher, task, ending, spec, selection)
            case Unchanged():
                self._outcome(publisher, self._of_unchanged(task, ending))
            case Failed():
                self._outcome(publisher, self._of_failure(task, ending.status, ending))
                if ending.status == "failed":
                    self._dead_letter(publisher, task, ending)
            case GivenUp():
                self._outcome(publisher, self._of_failure(task, "failed", ending))
                if ending.accounts is not None:
                    self._host_letter(publisher, task, ending)
            case Retry():
                due = self._now() + timedelta(seconds=ending.delay)
                retrying = self._of_failure(task, "retrying", ending)
                self._outcome(publisher, retrying.model_copy(update={"due_at": due}))
                self._requeue(
                    publisher,
                    task.model_copy(
                        update={
                            "attempt": task.attempt + 1,
                            "not_before": due,
                            "first_tried_at": task.first_tried_at or self._now(),
                        }
                    ),
                )
            case Requeued():
                self._requeue(publisher, ending.task)
            case Cancelled():
                self._outcome(publisher, self._outcome_of(task, "cancelled"))
            case Unreadable():
                self._unreadable(publisher, work, ending)
            case _:
                assert_never(ending)

    def _finish(self, work: Work, ending: Ending) -> None:
        self._stream.finish(work.task)
        self._settled.append(work.task)
        self._tell(ending)

    def _conclude(
        self, publisher: TransactionalPublisher, task: DidTask, got: Fetched, spec: JobSpec, selection: str
    ) -> None:
        """What follows the records of a repository: its tallies hold only now."""
        names, now = self._names, self._now()
        records, broken = sum(got.events.records.values()), got.events.broken
        marker = sync_event(
            task.did, int(self._clock() * 1e6), task.job_id, got.rev, records, selection, got.since
        )
        publisher.publish(names.records, task.did, marker)
        for letter in broken:
            publisher.publish(names.deadletter, task.did, letter.encode())
        outcome = self._outcome_of(
            task,
            "completed",
            strategy=got.strategy,
            proof=got.proof,
            rev=got.rev,
            records=dict(got.events.records),
            dropped=dict(got.events.dropped),
            undated=got.events.undated,
            bytes=got.size,
            seconds=got.seconds,
            fetched_at=now,
        )
        self._outcome(publisher, outcome)
        state = RepoState(
            did=task.did,
            rev=got.rev,
            commit=got.commit,
            strategy=got.strategy,
            proof=got.proof,
            selection=selection,
            record_types=sorted(set(spec.backfill.record_types)),
            narrowed=is_narrowed(spec.backfill),
            destinations=destinations_of(spec.backfill),
            records=records,
            job_id=task.job_id,
            fetched_at=now,
        )
        if not (state.strategy == "since" and state.narrowed):
            # A window of what is new would stand in the place of the base that it went on from.
            publisher.publish(names.repos, task.did, state.encode())

    def _of_unchanged(self, task: DidTask, ending: Unchanged) -> RepoOutcome:
        return self._outcome_of(
            task,
            "skipped",
            reason="Unchanged",
            strategy="since",
            proof="commit",
            rev=ending.rev,
            seconds=ending.seconds,
            fetched_at=self._now(),
        )

    def _of_failure(
        self, task: DidTask, status: OutcomeStatus, ending: Failed | Retry | GivenUp
    ) -> RepoOutcome:
        return self._outcome_of(
            task,
            status,
            error_type=ending.error_type,
            reason=ending.reason,
            detail=ending.detail[:500],
            seconds=ending.seconds,
        )

    def _outcome_of(self, task: DidTask, status: OutcomeStatus, **figures: object) -> RepoOutcome:
        return RepoOutcome.model_validate(
            {
                "job_id": task.job_id,
                "did": task.did,
                "handle": task.handle,
                "host": task.pds,
                "status": status,
                "attempt": task.attempt,
                "replay": task.replay,
                "replaces": task.replaces,
            }
            | figures
        )

    def _outcome(self, publisher: TransactionalPublisher, outcome: RepoOutcome) -> None:
        publisher.publish(self._names.outcomes, outcome.job_id, outcome.encode())

    def _requeue(self, publisher: TransactionalPublisher, task: DidTask) -> None:
        publisher.publish(self._names.dids_retry, task.pds, task.encode())

    def _dead_letter(self, publisher: TransactionalPublisher, task: DidTask, ending: Failed) -> None:
        letter = DeadLetter(
            stage="fetch",
            error_type=ending.error_type,
            reason=ending.reason,
            detail=ending.detail,
            job_id=task.job_id,
            did=task.did,
            host=task.pds,
            attempts=task.attempt,
            replay=task.replay,
            payload=task.encode().decode(),
            at=self._now(),
        )
        publisher.publish(self._names.deadletter, task.did, letter.encode())

    def _host_letter(self, publisher: TransactionalPublisher, task: DidTask, ending: GivenUp) -> None:
        """One for all accounts of a job at a host; `outcomes` names them, under the same reason."""
        since = datetime.fromtimestamp(ending.failing_since, UTC)
        letter = DeadLetter(
            stage="fetch",
            error_type=ending.error_type,
            reason=ending.reason,
            detail=ending.detail,
            job_id=task.job_id,
            host=task.pds,
            payload=orjson.dumps({"accounts": ending.accounts, "failing_since": since}).decode(),
            at=self._now(),
        )
        publisher.publish(self._names.deadletter, task.pds, letter.encode())

    def _unreadable(self, publisher: TransactionalPublisher, work: Work, ending: Unreadable) -> None:
        letter = DeadLetter(
            stage="fetch",
            error_type="processing_failed",
            reason=ending.reason,
            detail=ending.detail,
            job_id=ending.job_id,
            did=ending.did,
            host=work.task.key,
            payload=ending.payload,
            at=self._now(),
        )
        publisher.publish(self._names.deadletter, ending.did or work.task.key, letter.encode())

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _slices(events: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(events)
    while part := list(islice(rest, _SLICE)):
        yield part
