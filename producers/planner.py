"""The planner: commands in, tasks out. The one process that decides what a job is and who gets a task.

Whoever is assigned `jobs` plans, under one transactional id that fences any predecessor. Each batch of
commands and each chunk of a plan is one transaction, so a planner may be killed between any two statements.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from atp.xrpc import Client
from messaging.clients import transactional_producer
from messaging.crash import end_process
from messaging.groups import groups_at_work
from messaging.instruments import ProducerMetrics
from messaging.membership import Membership
from messaging.names import Names
from messaging.polling import Delivered
from messaging.topics import topics
from messaging.transactions import TransactionalPublisher
from producers.chunk import Publication
from producers.commands import Verdict, job_id_of, judge
from producers.existing import ExistingAccounts, open_states
from producers.metrics import PlannerMetrics
from producers.planned_jobs import PlannedJobs
from producers.plans import Plans
from producers.replaying import Replaying
from producers.resolve import Resolves
from producers.room import Room
from producers.schedules import step
from producers.sources import Reach
from producers.trim import TaskTrimmer
from schemas.errors import FencedError
from schemas.job_status import JobStatus
from schemas.settings import KafkaSettings, Settings

_COMMANDS_AT_ONCE = 100
_IDLE_SECONDS = 0.25
_TURN_SECONDS = 0.5
"""How long one job's chunk is waited for before commands and other jobs have their turn."""
_TRIM_SECONDS = 60.0
_ASK_SECONDS = 5.0
_log = logging.getLogger("skyfill.planner")


def open_publisher(kafka: KafkaSettings, metrics: ProducerMetrics | None = None) -> TransactionalPublisher:
    """A publisher under the planner's one transactional id; `open` fences the planner before this one."""
    names = Names(kafka.topic_prefix)
    producer = transactional_producer(kafka, names.transactional_id(names.planner_group))
    return TransactionalPublisher(producer, {t.name: t.partitions for t in topics(kafka)}, metrics)


class Planner:
    """Life: made (joins the group), `run` once, `close`. All of it in one thread."""

    def __init__(
        self,
        settings: Settings,
        resolver: Resolves,
        runner: asyncio.Runner,
        admin: AdminClient,
        *,
        client: Client | None = None,
        only_job: str | None = None,
        new_publisher: Callable[[KafkaSettings], TransactionalPublisher] = open_publisher,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        end: Callable[[str], NoReturn] = end_process,
        metrics: PlannerMetrics | None = None,
    ) -> None:
        """Resolution runs on `runner`'s loop, between the Kafka calls. `client` asks the hosts that sources
        list; without one these can't be read. `only_job`: plan no other job."""
        self._settings = settings
        self._names = Names(settings.kafka.topic_prefix)
        self._runner = runner
        self._only_job = only_job
        self._new_publisher = new_publisher
        self._now, self._monotonic, self._end = now, monotonic, end
        self.failures: dict[str, str] = {}
        """Jobs that this planner refused or whose source failed, and why."""
        self._jobs = PlannedJobs(settings.kafka)
        partitions = settings.kafka.partitions.dids
        self._plans = Plans(
            settings,
            self._jobs,
            Reach(settings, client, self._jobs),
            resolver,
            runner,
            Room(admin, self._names, partitions, settings.worker.window_tasks // 2, monotonic),
            only_job=only_job,
            now=now,
            monotonic=monotonic,
        )
        self._replaying = Replaying(
            settings,
            self._jobs,
            resolver,
            most_waiting=self._plans.most_waiting,
            only_job=only_job,
            now=now,
            monotonic=monotonic,
        )
        self._commands: deque[Delivered] = deque()
        self._existing = ExistingAccounts(lambda: open_states(settings))
        self._since = now()
        """When this planner took over."""
        self._position: int | None = None  # of `jobs`, while it is held
        self._read_all = False
        self._publisher: TransactionalPublisher | None = None
        self._admin = admin
        self._trimmer = TaskTrimmer(admin, self._names, partitions)
        self._trim_at = monotonic() + _TRIM_SECONDS
        self._metrics = metrics or PlannerMetrics()
        self._metrics.watch(lambda: self._publisher is not None)
        self._membership = Membership(
            settings.kafka,
            self._names.planner_group,
            self._names.jobs,
            self,
            end=self._end,
            metrics=self._metrics.group,
        )

    def run(self, stop: threading.Event, *, until_planned: bool = False) -> None:
        """Plans until `stop` is set; with `until_planned`, until what it has to plan is planned.

        Raises DeploymentError and OffsetsMissing. Ends the process when its place is lost.
        """
        try:
            while not stop.is_set() and not (until_planned and self._planned()):
                self._hear(0.0 if self._busy() else _IDLE_SECONDS)
                if self._position is None:
                    self._jobs.watch()
                    continue
                if self._publisher is None:
                    self._take_over()
                self._alert(self._jobs.poll())
                self._follow()
                self._start_runs()
                self._plan_on()
                if self._publisher is None:
                    continue
                self._replay_on()
                self._trim_if_due()
        except FencedError as error:
            self._end(str(error))

    def close(self) -> None:
        """Leaves the group, so that another planner goes on at once."""
        self._membership.close()
        self._jobs.close()
        self._replaying.close()
        self._existing.close()

    def assigned(self, start: Sequence[TopicPartition]) -> None:
        """See messaging.membership.Owner. The taking over itself follows outside the callback."""
        for at in start:
            self._position = at.offset

    def revoking(self, partitions: Sequence[tuple[str, int]]) -> None:
        """See messaging.membership.Owner. No transaction is ever open here; work in progress is dropped."""
        if partitions:
            self._position = self._publisher = None
            self._read_all = False
            self._commands.clear()
            self._runner.run(self._replaying.drop())
            self._existing.close()
            self._plans.drop_all()

    def _take_over(self) -> None:
        publisher = self._new_publisher(self._settings.kafka)
        publisher.open()  # from here on the predecessor can't commit any more: what is read now stays true
        self._jobs.restore()
        self._replaying.restore()
        self._publisher, self._since = publisher, self._now()
        self._plans.tidy()
        _log.info("planning from command %s on", self._position)

    def _hear(self, timeout: float) -> None:
        """Takes in commands; waits up to `timeout` seconds for the first. The place may go meanwhile."""
        # Few while some are left: they must not grow without bound, and polling keeps the place.
        polled = self._membership.poll(1 if self._commands else _COMMANDS_AT_ONCE, timeout)
        self._commands.extend(polled.messages)
        self._read_all = (self._names.jobs, 0) in polled.ends or (self._read_all and not polled.messages)

    def _follow(self) -> None:
        """Judges commands and publishes what follows, in one transaction with their offsets.

        A command to replay dead letters has a transaction to itself, and ends the turn: it may be a long one.
        """
        assert self._publisher is not None
        assert self._position is not None
        position, replaying, judged = self._position, False, set[str]()
        while self._commands and not replaying:
            message = self._commands.popleft()
            if message.offset < position:
                continue
            job_id = job_id_of(message.key, message.offset)
            verdict = judge(
                message.key,
                message.offset,
                message.value,
                self._jobs.known(job_id),
                now=self._now(),
                folder=Path.cwd(),
            )
            following: list[Publication] = []
            if replaying := bool(verdict.letters):
                self._commit_commands(position)
                verdict, following = self._replaying.answer(verdict, message.offset)
            self._publish_verdict(verdict, following)
            position = message.offset + 1
            judged.add(job_id)
        self._commit_commands(position)
        for job_id in judged:
            if self._jobs.checkpoint(job_id).finished:
                self._plans.drop(job_id)
            spec = self._jobs.spec(job_id)
            if spec is not None and spec.state == "cancelled":  # nobody is looked up for it any more
                self._runner.run(self._replaying.drop(job_id))

    def _commit_commands(self, position: int) -> None:
        """Commits what was published, and that all commands before `position` are followed."""
        assert self._publisher is not None
        if position != self._position:
            places = [TopicPartition(self._names.jobs, 0, position)]
            self._publisher.commit(places, self._membership.consumer)
            self._position = position

    def _publish(self, publications: Iterable[Publication]) -> None:
        assert self._publisher is not None
        for topic, key, message in publications:
            self._publisher.publish(topic, key, message.encode())

    def _publish_verdict(self, verdict: Verdict, following: Iterable[Publication]) -> None:
        job_id = verdict.job_id
        _log.info("job %s: %s %s", job_id, verdict.event.event, verdict.event.detail or "")
        self._metrics.judged(verdict.event.event)
        if verdict.event.event == "rejected":
            self.failures[job_id] = verdict.event.detail or "rejected"
        self._publish([*verdict.publications(self._names), *following])
        # Later commands of the same batch are judged by this; if the commit fails, the process ends.
        self._jobs.take(
            [verdict.spec] if verdict.spec else [], [verdict.checkpoint] if verdict.checkpoint else []
        )

    def _alert(self, ended: Sequence[JobStatus]) -> None:
        """Tells loudly of jobs that did not end well, unless a notifier is there to do so."""
        for status in ended:
            if status.status == "complete" or not self._jobs.wants_alert(status.job_id):
                continue
            if not self._notified():
                _log.error(
                    "ALERT job %s ended as %s: %d of %d accounts failed",
                    status.job_id,
                    status.status,
                    status.totals.failed,
                    status.total,
                )

    def _start_runs(self) -> None:
        """Submits the runs of schedules that are due; each schedule's step is one transaction."""
        assert self._publisher is not None
        if self._only_job is not None:
            return
        for spec in self._jobs.schedules():
            now, checkpoint = self._now(), self._jobs.checkpoint(spec.job_id)
            taken = step(spec, checkpoint, self._jobs, now=now, since=self._since)
            if taken is None:
                continue
            self._publish(taken.publications(self._names))
            self._publisher.commit()
            self._jobs.take([taken.run] if taken.run else [], [taken.checkpoint])
            _log.info("schedule %s: %s", spec.job_id, taken.told.detail)

    def _notified(self) -> bool:
        try:
            return bool(groups_at_work(self._admin, [self._names.notifier_group], patience=_ASK_SECONDS))
        except (KafkaException, FutureTimeout):
            return False  # an alert that comes twice is better than none

    def _plan_on(self) -> None:
        """One turn of one job; publishes its chunk if that is ready."""
        spec = self._plans.next_job()
        if spec is None:
            return
        assert self._publisher is not None
        self._plans.begin_turn(spec.job_id)
        if not self._existing.ready(spec.backfill, _TURN_SECONDS):
            return
        job_id = spec.job_id
        chunk = self._runner.run(self._plans.plan(spec).chunk(_TURN_SECONDS))
        if chunk is None or not self._goes_on(job_id):
            return
        chunk = self._existing.spare(chunk, spec.backfill)
        self._publish(chunk.publications(self._names, self._now()))
        self._publisher.commit()
        self._plans.published(len(chunk.tasks))
        before, after = self._jobs.checkpoint(job_id), chunk.checkpoint
        left_out = sum(after.left_out.values()) - sum(before.left_out.values())
        self._metrics.planned(chunk, after.duplicates - before.duplicates, left_out)
        self._jobs.take([], [chunk.checkpoint])
        if chunk.failure is not None:
            self.failures[job_id] = chunk.failure
            _log.error("job %s: %s", job_id, chunk.failure)
        if chunk.checkpoint.finished:
            _log.info("job %s is planned: %d accounts", job_id, chunk.checkpoint.planned)
            self._plans.drop(job_id)

    def _goes_on(self, job_id: str) -> bool:
        """Whether a chunk that is ready is still wanted: it may have taken seconds, and may take more."""
        self._hear(0.0)
        if self._publisher is None:
            return False  # the place went, and all plans with it
        self._follow()
        spec = self._jobs.spec(job_id)
        if spec is not None and spec.state == "active":
            return True
        self._plans.drop(job_id)  # its next plan begins where the last chunk ended
        return False

    def _replay_on(self) -> None:
        """One turn of one job's replays that have to be looked up."""
        assert self._publisher is not None
        publications = self._runner.run(self._replaying.turn(_TURN_SECONDS))
        if publications:
            self._publish(publications)
            self._publisher.commit()

    def _planned(self) -> bool:
        """Whether the only job's plan is finished, or, without one, every job's that was submitted so far."""
        if self._only_job is not None:
            spec = self._jobs.spec(self._only_job)
            if spec is not None and spec.backfill.schedule is not None:
                self.failures[spec.job_id] = (
                    "is a schedule, which is submitted now; the runs are a deployment's (`skyfill producer`)"
                )
                return True
            return self._jobs.checkpoint(self._only_job).finished or self._jobs.ended(self._only_job)
        if self._commands or not self._replaying.idle():
            return False
        return self._read_all and not self._jobs.unfinished()

    def _busy(self) -> bool:
        """Whether there is something to do before the next command."""
        if self._publisher is None:
            return False
        return bool(self._commands) or self._replaying.has_turn or self._plans.next_job() is not None

    def _trim_if_due(self) -> None:
        if self._monotonic() >= self._trim_at:
            self._trimmer.trim()
            self._trim_at = self._monotonic() + _TRIM_SECONDS
