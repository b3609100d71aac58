"""The fetch worker: one process, one event loop for the network, one thread each for consuming,
reading repositories and publishing. It holds nothing that Kafka does not know: kill it at any moment.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from atp.identity import Resolver
from atp.xrpc import Client
from messaging import clients
from messaging.names import Names
from messaging.task_stream import TaskStream
from messaging.topics import check_offset_retention, check_topics, topics
from messaging.transactions import TransactionalPublisher
from messaging.views import CompactedView
from schemas.job_specs import JobSpec
from schemas.settings import Settings
from stream_workers.fetch.budget import ByteBudget
from stream_workers.fetch.cancelling import Cancelling
from stream_workers.fetch.clearing import Clearing
from stream_workers.fetch.ending import Cancelled, Ending, Fetched, GivenUp, Requeued, Unreadable
from stream_workers.fetch.fetcher import Fetcher
from stream_workers.fetch.host_board import HostBoard
from stream_workers.fetch.hosts import Host, Hosts
from stream_workers.fetch.intake import take_in
from stream_workers.fetch.jobs import Jobs
from stream_workers.fetch.metrics import FetchMetrics
from stream_workers.fetch.schedule import Schedule, Work
from stream_workers.fetch.settle import Settler
from stream_workers.fetch.visits import Back, Visits

_log = logging.getLogger("skyfill.fetch")
_LARGE_TRANSACTION_SECONDS = 900.0
_FINISH_SECONDS = 20.0
"""How long SIGTERM lets downloads under way go on."""
_IDLE_SECONDS = 0.5
_CALLED_OFF_AT_ONCE = 500
"""Tasks of cancelled jobs that end in one go: others publish in between."""


class FetchWorker:
    """Life: made, `run` until `stop` is set or the place is lost."""

    def __init__(
        self, settings: Settings, client: Client, resolver: Resolver, metrics: FetchMetrics | None = None
    ) -> None:
        """Nothing is connected before `run`."""
        self._settings = settings
        self._metrics = metrics or FetchMetrics()
        self._names = Names(settings.kafka.topic_prefix)
        self._lock = threading.RLock()
        self._wake = asyncio.Event()
        self._stopping = threading.Event()
        self._running: dict[Work, asyncio.Task[Back | None]] = {}
        self._commits = 0
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._reader = ThreadPoolExecutor(2, "read")  # one may have a giant for minutes
        self._publishing = ThreadPoolExecutor(1, "publish")
        self._publishing_large = ThreadPoolExecutor(1, "publish-large")
        budget = ByteBudget(settings.worker.memory_bytes)
        self._metrics.watch(lambda: len(self._running), lambda: budget.used)
        self._fetcher = Fetcher(
            client,
            resolver,
            budget,
            self._reader,
            spool_bytes=settings.worker.spool_bytes,
            spool_folder=settings.data_dir / "tmp",
            kept=self._metrics.kept,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`; then lets downloads end, commits and leaves the group.

        Raises DeploymentError if the topics are not as they have to be, FencedError when another process
        took this one's place.
        """
        await asyncio.to_thread(self._open)
        consuming = asyncio.create_task(asyncio.to_thread(self._consume))
        working = [asyncio.create_task(self._dispatch()), asyncio.create_task(self._call_off())]
        stopped = asyncio.create_task(stop.wait())
        waiting: list[asyncio.Future[None] | asyncio.Task[bool] | asyncio.Task[None]]
        waiting = [stopped, self._failure, consuming, *working]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for future in done - {stopped}:
            future.result()  # raises what went wrong
        for each in working:
            each.cancel()
        if stop.is_set():
            _log.info(
                "told to stop: %d downloads under way may end within %.0f s, nothing new begins",
                len(self._running),
                _FINISH_SECONDS,
            )
        if self._running:
            await asyncio.wait(self._running.values(), timeout=_FINISH_SECONDS)
        for task in self._running.values():
            task.cancel()
        self._stopping.set()
        await consuming  # commits while leaving the group
        self._reader.shutdown()
        self._publishing.shutdown()
        self._publishing_large.shutdown()
        self._fetcher.close()

    def _open(self) -> None:
        kafka, names = self._settings.kafka, self._names
        admin = clients.admin(kafka)
        wanted = topics(kafka)
        check_topics(admin, wanted)
        check_offset_retention(admin, kafka)
        counts = {topic.name: topic.partitions for topic in wanted}
        own_id = names.transactional_id(names.worker_group, self._settings.worker_slot or 0)
        transactions = self._metrics.transactions
        publisher = TransactionalPublisher(
            clients.transactional_producer(kafka, own_id), counts, transactions.of("main")
        )
        large = TransactionalPublisher(
            clients.transactional_producer(
                kafka, f"{own_id}.large", timeout_seconds=_LARGE_TRANSACTION_SECONDS
            ),
            counts,
            transactions.of("large"),
        )
        publisher.open()
        large.open()
        view = CompactedView(kafka, names.job_specs, JobSpec.decode)
        view.catch_up()
        self._jobs = Jobs(view)
        self._board = HostBoard(kafka, names)
        self._hosts = Hosts(self._board.known, self._metrics.hosts, time.time)
        self._schedule = Schedule(self._jobs.spec, self._hosts)
        self._visits = Visits(self._fetcher, self._hosts, self._schedule, self._jobs, time.time)
        self._cancelling = Cancelling(self._jobs, self._schedule, self._visits)
        self._stream = TaskStream(
            kafka,
            names.worker_group,
            names.dids,
            names.dids_retry,
            lock=self._lock,
            before_revoke=self._give_up,
            window_limit=self._settings.worker.window_tasks,
            metrics=self._metrics.group,
        )
        self._clearing = Clearing(
            names,
            self._schedule,
            self._hosts,
            self._jobs,
            self._stream.full,
            self._metrics.hosts,
            window=self._settings.worker.window_tasks,
            give_up_seconds=self._settings.worker.host_give_up_seconds,
        )
        self._settler = Settler(
            names, self._stream, publisher, large, self._lock, time.time, self._metrics.settled
        )

    # The consumer's thread

    def _consume(self) -> None:
        try:
            commit_at = time.monotonic()
            while not self._stopping.is_set():
                works, broken = take_in(self._stream.poll(0.1), self._jobs)
                changed = self._jobs.refresh()
                self._board.refresh({work.did_task.pds for work in works})
                if works or broken or changed:  # looking up an unknown job may change jobs, too
                    self._loop.call_soon_threadsafe(self._arrived, works, broken, changed)
                if time.monotonic() >= commit_at:
                    # Right after a poll the group's generation is known as it is now: a commit with an
                    # older one, in the middle of a rebalance, would cost this process its life.
                    self._settler.commit()
                    self._commits += 1
                    self._metrics.in_flight = self._stream.in_flight()
                    commit_at = time.monotonic() + self._settings.kafka.commit_interval_seconds
        finally:
            self._stream.close()
            self._jobs.close()
            self._board.close()

    def _give_up(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Partitions go: their downloads end first, so that no two workers ask one host at once."""
        gone = set(partitions)
        hosts = asyncio.run_coroutine_threadsafe(self._break_off(gone), self._loop).result()
        self._settler.commit()
        self._commits += 1
        self._board.forget({host.origin for host in hosts})
        for host in hosts:
            self._board.write(host.state(commits=self._commits, handed_over=True))
        self._board.flush()

    # The event loop

    async def _break_off(self, partitions: set[tuple[str, int]]) -> list[Host]:
        def kept(work: Work) -> bool:
            return (work.task.topic, work.task.partition) not in partitions

        self._schedule.drop(kept)
        ended = [task for work, task in self._running.items() if not kept(work)]
        for task in ended:
            task.cancel()
        if ended:
            await asyncio.wait(ended)
            self._schedule.drop(kept)  # one that had just ended may have come back
        self._visits.drop(kept)
        self._cancelling.drop(kept)
        return self._hosts.forget({partition for _, partition in partitions})

    def _arrived(self, works: list[Work], broken: list[tuple[Work, Unreadable]], changed: set[str]) -> None:
        now = time.time()
        for work in works:
            if self._cancelling.concerns(work.did_task.job_id):
                self._cancelling.add(work)
                continue
            self._hosts.expect(work.did_task, work.task.partition)
            self._schedule.add(work, now)
        for work, ending in broken:
            self._start(work, self._settle(work, ending))
        self._cancelling.look()
        for job_id in self._schedule.held_jobs():
            spec = self._jobs.spec(job_id)
            if spec is not None and spec.state != "paused":
                self._schedule.release(job_id)
        if changed:
            self._schedule.look_again()
        self._wake.set()

    async def _dispatch(self) -> None:
        while True:
            self._wake.clear()
            now = time.time()
            while work := self._schedule.next_work(now):
                self._begin(work)
            for work, ending in self._clearing.look(now):
                self._visits.forget(work)
                self._start(work, self._settle(work, ending))
            for host in self._hosts.due(now):
                self._board.write(host.state(commits=self._commits))
            due = self._schedule.next_due()
            pause = _IDLE_SECONDS if due is None else min(_IDLE_SECONDS, max(0.0, due - now))
            try:
                await asyncio.wait_for(self._wake.wait(), pause)
            except TimeoutError:
                continue

    async def _call_off(self) -> None:
        """Ends the tasks of cancelled jobs, which wait for nothing and take no places."""
        while True:
            works = await self._cancelling.take(_CALLED_OFF_AT_ONCE)
            await self._loop.run_in_executor(self._publishing, self._settler.settle_all, works, Cancelled())

    def _begin(self, work: Work) -> None:
        spec = self._jobs.spec(work.did_task.job_id)
        assert spec is not None  # a job's specification is never deleted
        if spec.state == "cancelled":
            self._start(work, self._settle(work, Cancelled()), scheduled=True)
        elif spec.state == "active":
            self._start(work, self._fetch(work, spec), scheduled=True)
        elif work.task.topic == self._names.dids:
            self._start(work, self._settle(work, Requeued(work.did_task)), scheduled=True)
        else:
            self._schedule.done(work)
            self._schedule.hold(work)

    def _start(
        self, work: Work, coroutine: Coroutine[Any, Any, Back | None], *, scheduled: bool = False
    ) -> None:
        task = asyncio.create_task(coroutine)
        self._running[work] = task
        task.add_done_callback(lambda ended: self._ended(work, ended, scheduled))

    def _ended(self, work: Work, task: asyncio.Task[Back | None], scheduled: bool) -> None:
        del self._running[work]
        if scheduled:
            self._schedule.done(work)
        self._wake.set()
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            if not self._failure.done():
                self._failure.set_exception(error)
        elif (back := task.result()) is not None:
            back()

    async def _fetch(self, work: Work, spec: JobSpec) -> Back | None:
        found = await self._cancelling.visit(work, spec)
        if callable(found):
            return found
        await self._settle(work, found)
        return None

    async def _settle(self, work: Work, ending: Ending) -> None:
        spec = self._jobs.spec(work.did_task.job_id)
        fingerprint = self._jobs.selection(spec).fingerprint if spec else ""
        if isinstance(ending, Fetched) and ending.messages is None:
            assert spec is not None
            publishing = self._loop.run_in_executor(
                self._publishing_large, self._settler.settle_large, work, ending, spec, fingerprint
            )
        else:
            publishing = self._loop.run_in_executor(
                self._publishing, self._settler.settle, work, ending, spec, fingerprint
            )
        if isinstance(ending, Fetched):
            # Its memory is in use until the thread is done with it, even if nobody waits for that any more.
            publishing.add_done_callback(lambda done: self._published(work, ending, done))
        await asyncio.shield(publishing)
        if isinstance(ending, GivenUp) and ending.accounts is not None:
            self._hosts.letter_published(work.did_task, self._commits)

    def _published(self, work: Work, ending: Fetched, publishing: asyncio.Future[bool]) -> None:
        if publishing.cancelled() or publishing.exception() is not None or publishing.result():
            ending.spool.close()
        else:
            self._fetcher.keep(work.did_task, ending)
