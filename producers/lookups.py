"""Replays whose accounts are to be looked up first: entries that never resolved, hosts that were given up.

Works like a plan: a batch of accounts is resolved while commands and jobs have their turns, and its tasks,
its traces and the event that announces them are one transaction. Whoever drops a batch loses nothing: what
is still to be done stands in the traces.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from pydantic import ValidationError

from atp.identity import Identity
from messaging import clients
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.polling import Delivered
from messaging.scan import scan
from messaging.topics import end_offsets
from producers.chunk import Publication, interleave, out_of_scope, task_of, unresolved
from producers.planned_jobs import PlannedJobs
from producers.replays import again
from producers.resolve import Resolves, resolve_one
from producers.sources.base import Entry
from producers.traces import Traces
from schemas.deadletter import DeadLetter
from schemas.dids import DidTask
from schemas.errors import SkyfillError
from schemas.job_specs import JobSpec
from schemas.outcomes import JobEvent, Replaced, RepoOutcome, decode_outcome
from schemas.replays import Lot, Replay
from schemas.scope import ScopeJudge
from schemas.settings import KafkaSettings

MOST_ACCOUNTS = 1000
"""Of one batch, and so of one transaction."""
_SECONDS = 1.0
"""How long one turn looks through outcomes: commands wait meanwhile."""
_PAUSE_SECONDS = 0.25


class Wanted(NamedTuple):
    """An account that is to be tried again."""

    replaced: Replaced
    number: int


@dataclass
class Batch:
    """What one transaction publishes of a job's replays."""

    job_id: str
    traces: list[Replay]
    tasks: list[DidTask] = field(default_factory=list)
    outcomes: list[RepoOutcome] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    announced: int | None = None
    """Accounts that are tried again and that nobody was told of yet. None: there is nothing to be told."""

    def publications(self, names: Names, now: datetime, gathering: int) -> list[Publication]:
        """Every message, the event before what it announces. `gathering`: hosts whose accounts are still to
        be gathered once this is published."""
        found: list[Publication] = []
        if self.announced is not None:
            event = JobEvent(
                job_id=self.job_id, event="replayed", count=self.announced, gathering=gathering, at=now
            )
            found.append((names.outcomes, self.job_id, event))
        found += [(names.dids, task.pds, task) for task in interleave(self.tasks)]
        found += [(names.outcomes, self.job_id, outcome) for outcome in self.outcomes]
        found += [(names.deadletter, letter.did or self.job_id, letter) for letter in self.dead_letters]
        return found + [(names.replays, trace.letter, trace) for trace in self.traces]


class Lookups:
    """Life: made; as long as there is a `next_job`, ask for its `batch`, and publish it before the next one;
    `drop` when the place is lost."""

    def __init__(
        self,
        kafka: KafkaSettings,
        traces: Traces,
        jobs: PlannedJobs,
        resolver: Resolves,
        *,
        concurrency: int,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`concurrency` is resolutions at once."""
        self._kafka, self._names = kafka, Names(kafka.topic_prefix)
        self._traces, self._jobs, self._resolver = traces, jobs, resolver
        self._concurrency, self._now, self._monotonic = concurrency, now, monotonic
        self._admin = clients.admin(kafka)
        self._work: asyncio.Task[Batch] | None = None
        self._work_of = ""
        self._turns: dict[str, int] = {}

    def next_job(self, most_waiting: int, only_job: str | None) -> JobSpec | None:
        """Of the jobs with something to look up, the one whose last turn lies farthest back.

        A job with more than `most_waiting` tasks waits, and so does one that is paused.
        """
        if self._work is not None:
            return self._jobs.spec(self._work_of)
        found = [
            spec
            for job_id in self._traces.pending_jobs()
            if only_job in (None, job_id)
            and (spec := self._jobs.spec(job_id)) is not None
            and spec.state != "paused"
            and (spec.state == "cancelled" or self._jobs.waiting(job_id) <= most_waiting)
        ]
        return min(found, key=lambda spec: (self._turns.get(spec.job_id, 0), spec.job_id), default=None)

    async def batch(self, spec: JobSpec, patience: float) -> Batch | None:
        """The next batch of `next_job`; None if it is not ready within `patience` seconds: ask again."""
        if self._work is None:
            self._turns[spec.job_id] = max(self._turns.values(), default=0) + 1
            self._work_of = spec.job_id
            self._work = asyncio.create_task(self._batch(spec))
        await asyncio.wait({self._work}, timeout=patience)
        if not self._work.done():
            return None
        batch = self._work.result()
        self._work = None
        return batch

    def idle(self, only_job: str | None) -> bool:
        """Whether nothing is left to be looked up but for jobs that are paused."""
        specs = [self._jobs.spec(job) for job in self._traces.pending_jobs() if only_job in (None, job)]
        return all(spec is None or spec.state == "paused" for spec in specs)

    async def drop(self, job_id: str | None = None) -> None:
        """Forgets the work in progress; with `job_id`, only if it is that job's."""
        if self._work is not None and job_id in (None, self._work_of):
            self._work.cancel()
            await asyncio.wait({self._work})
            self._work = None

    async def _batch(self, spec: JobSpec) -> Batch:
        if spec.state == "cancelled":
            return self._called_off(spec)
        scope = ScopeJudge(spec.backfill.scope)
        pending = self._traces.pending(spec.job_id)
        entries = [trace for trace in pending if trace.entry is not None][:MOST_ACCOUNTS]
        if entries:
            batch = Batch(
                spec.job_id, [trace.model_copy(update={"entry": None, "accounts": 1}) for trace in entries]
            )
            await self._resolve(batch, [Wanted(t.entry, t.number) for t in entries if t.entry], scope)
            return batch
        trace = pending[0]
        assert trace.lot is not None
        wanted, lot = self._gather(spec, trace, trace.lot)
        if lot == trace.lot:  # a transaction is not decided yet
            await asyncio.sleep(_PAUSE_SECONDS)
            return Batch(spec.job_id, [])
        done = trace.model_copy(update={"lot": lot, "accounts": trace.accounts + len(wanted)})
        batch = Batch(spec.job_id, [done])
        await self._resolve(batch, wanted, scope)
        if wanted or lot.finished:
            batch.announced = len(wanted)
        return batch

    def _called_off(self, spec: JobSpec) -> Batch:
        """The job was cancelled: what was announced ends so, and hosts' accounts stay as they are."""
        traces, outcomes = [], []
        for trace in self._traces.pending(spec.job_id):
            if trace.entry is not None:
                wanted = Wanted(trace.entry, trace.number)
                known = {"job_id": spec.job_id, "did": trace.entry.did, "host": trace.entry.host}
                outcome = RepoOutcome.model_validate(known | {"status": "cancelled"})
                outcomes.append(_of_replay(outcome, wanted))
            lot = trace.lot and trace.lot.model_copy(update={"until": trace.lot.cursor})
            traces.append(trace.model_copy(update={"entry": None, "lot": lot}))
        return Batch(spec.job_id, traces, outcomes=outcomes, announced=0)

    def _gather(self, spec: JobSpec, trace: Replay, lot: Lot) -> tuple[list[Wanted], Lot]:
        """Accounts of a lot, as many as a batch or the time allows, and how far the lot is with them."""
        topic, partition = self._names.outcomes, partition_for(spec.job_id, self._kafka.partitions.outcomes)
        end = min(lot.until, end_offsets(self._admin, topic, [partition])[partition])
        deadline = self._monotonic() + _SECONDS
        wanted: list[Wanted] = []
        cursor = lot.cursor
        for message in scan(self._kafka, topic, partition, None, begin=cursor, until=end):
            cursor = message.offset + 1
            outcome = _given_up(message, spec.job_id, lot)
            if outcome is not None:
                wanted.append(Wanted(_replaced(trace.letter, outcome), outcome.replay + 1))
            if len(wanted) == MOST_ACCOUNTS or self._monotonic() > deadline:
                return wanted, lot.model_copy(update={"cursor": cursor})
        return wanted, lot.model_copy(update={"cursor": max(cursor, end)})

    async def _resolve(self, batch: Batch, wanted: list[Wanted], scope: ScopeJudge) -> None:
        """Tasks for the accounts that are somewhere the job may go, outcomes for the others."""
        places = asyncio.Semaphore(self._concurrency)

        async def ask(one: Wanted) -> Identity | SkyfillError:
            async with places:
                return await resolve_one(self._resolver, one.replaced.did, fresh=True)

        for one, answer in zip(wanted, await asyncio.gather(*map(ask, wanted)), strict=True):
            letter = None
            if not isinstance(answer, Identity):
                entry = Entry(one.replaced.did, one.replaced.host)
                outcome, letter = unresolved(batch.job_id, entry, answer, self._now())
            elif scope.excludes(answer.did, answer.pds):
                outcome = out_of_scope(batch.job_id, answer.did, answer)
            else:
                task = task_of(batch.job_id, Entry(answer.did), answer)
                batch.tasks.append(again(task, one.replaced, one.number))
                continue
            batch.outcomes.append(_of_replay(outcome, one))
            if letter is not None:
                batch.dead_letters.append(letter.model_copy(update={"replay": one.number}))


def _given_up(message: Delivered, job_id: str, lot: Lot) -> RepoOutcome | None:
    """The outcome of an account that belongs to a lot."""
    value = message.value or b""
    if message.key != job_id or lot.reason.encode() not in value:  # which is quick, and nearly all are others
        return None
    try:
        outcome = decode_outcome(value)
    except ValidationError:
        return None  # the tracker set it aside, and did not count it
    if not isinstance(outcome, RepoOutcome) or outcome.status != "failed":
        return None
    same = (outcome.job_id, outcome.host, outcome.reason) == (job_id, lot.host, lot.reason)
    return outcome if same else None


def _replaced(letter: str, outcome: RepoOutcome) -> Replaced:
    return Replaced(
        letter=letter,
        did=outcome.did,
        host=outcome.host,
        error_type=outcome.error_type,
        reason=outcome.reason,
    )


def _of_replay(outcome: RepoOutcome, wanted: Wanted) -> RepoOutcome:
    return outcome.model_copy(update={"replay": wanted.number, "replaces": wanted.replaced})
