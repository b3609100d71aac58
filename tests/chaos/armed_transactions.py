"""The points of the worker, the tracker and the planner: before, in and after a transaction with work in it.

Each point flushes what has to be at the broker for its name to be true: only the transaction then keeps
it from being seen.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from confluent_kafka import TopicPartition

from messaging.names import Names
from messaging.task_stream import TaskStream
from messaging.transactions import Member, TransactionalPublisher
from tests.chaos.plan import Point
from tests.chaos.victim import Open, Victim, die, put_in_place

_FLUSH_SECONDS = 10
_INTO_A_COMMIT = 0.02
"""Seconds until a commit under way is struck; most take longer."""


class Transactions:
    """The open transactions of this process, counted by what was published."""

    def __init__(self, victim: Victim) -> None:
        self._victim = victim
        self._sent: dict[TransactionalPublisher, Counter[str]] = {}
        self.last: TransactionalPublisher | None = None
        """The one that published last."""
        self._committing: tuple[TransactionalPublisher, Open] | None = None
        self.also_open: Open = {}
        """What else lies open in this process."""

    def arm(self) -> None:
        """Puts the points around the publisher."""
        publish_all, commit, call = (
            TransactionalPublisher.publish_all,
            TransactionalPublisher.commit,
            TransactionalPublisher._call,
        )

        def counted(
            publisher: TransactionalPublisher,
            topic: str,
            key: str,
            values: Sequence[bytes | None],
            **place: Any,
        ) -> None:
            publish_all(publisher, topic, key, values, **place)
            self.last = publisher
            self._sent.setdefault(publisher, Counter())[topic.partition(".")[2]] += len(values)

        def armed_commit(
            publisher: TransactionalPublisher,
            offsets: Sequence[TopicPartition] = (),
            member: Member | None = None,
        ) -> None:
            sent = self._sent.pop(publisher, Counter())
            if not self._is_work(sent):
                commit(publisher, offsets, member)
                return
            what_is_open = {**sent, "partitions' offsets": len(offsets)}

            def really() -> bool:
                commit(publisher, offsets, member)
                return True

            if offsets:
                self._victim.reach(
                    Point.BEFORE_OFFSETS, lambda: what_is_open | self.also_open, lambda: flush(publisher)
                )
            self._committing = publisher, what_is_open
            self._victim.commit(lambda: what_is_open | self.also_open, really)
            self._committing = None
            self._victim.reach(Point.AFTER_COMMIT, lambda: what_is_open | self.also_open, lambda: None)
            self._victim.committed()

        def armed_call(function: Any, *arguments: Any) -> None:
            if function.__name__ == "commit_transaction" and self._committing is not None:
                self._during(*self._committing, lambda: call(function, *arguments))
            else:
                call(function, *arguments)

        put_in_place(TransactionalPublisher, "publish_all", counted)
        put_in_place(TransactionalPublisher, "commit", armed_commit)
        put_in_place(TransactionalPublisher, "_call", staticmethod(armed_call))

    def _is_work(self, sent: Counter[str]) -> bool:
        """A planner's transaction is work if it holds tasks, a worker's if it holds records."""
        wanted = {"producer": "dids", "worker": "records"}.get(self._victim.kind)
        return sent.total() > 0 if wanted is None else sent[wanted] > 0

    def _during(self, publisher: TransactionalPublisher, open_: Open, commit: Any) -> None:
        order = self._victim.ordered(Point.DURING_COMMIT)
        if order is None:
            commit()
            return
        flush(publisher)
        self._victim.tell_struck(order, open_ | self.also_open)
        if order.in_flight:
            threading.Timer(_INTO_A_COMMIT, die).start()
            commit()  # decided or not: nobody here will ever know
        die()


def arm_transactions(victim: Victim) -> None:
    """Puts all points around the code of this kind of process."""
    transactions = Transactions(victim)
    transactions.arm()
    if victim.kind == "worker":
        _arm_worker(victim, transactions)
    elif victim.kind == "tracker":
        _arm_tracker(victim)
    else:
        _arm_planner(victim, transactions)


def flush(publisher: TransactionalPublisher | None) -> None:
    """The broker has all that was published."""
    if publisher is not None:
        publisher._producer.flush(_FLUSH_SECONDS)


def _arm_worker(victim: Victim, transactions: Transactions) -> None:
    from stream_workers.fetch.ending import Fetched
    from stream_workers.fetch.settle import Settler

    publish, poll = Settler._publish, TaskStream.poll

    def armed_publish(settler: Settler, work: Any, ending: Any, *more: Any) -> None:
        if isinstance(ending, Fetched) and (records := sum(ending.events.records.values())):
            open_ = {"records in hand": records, "tasks settled": len(settler._settled)}
            victim.reach(
                Point.BEFORE_PRODUCE,
                lambda: open_ | transactions.also_open,
                lambda: flush(settler._publisher),
            )
        publish(settler, work, ending, *more)

    def watched_poll(stream: TaskStream, timeout: float) -> Any:
        tasks = poll(stream, timeout)
        transactions.also_open = {"tasks in flight": stream.in_flight().tasks}
        return tasks

    put_in_place(Settler, "_publish", armed_publish)
    put_in_place(TaskStream, "poll", watched_poll)


def _arm_tracker(victim: Victim) -> None:
    from stream_workers.tracker.tracker import Tracker

    count, commit, counted = Tracker._count, Tracker._commit, Counter[str]()

    def watched_count(tracker: Tracker, message: Any) -> None:
        count(tracker, message)
        counted["outcomes counted"] += 1

    def armed_commit(tracker: Tracker) -> None:
        if tracker._dirty:
            victim.reach(Point.BEFORE_PRODUCE, lambda: dict(counted), lambda: None)
        counted.clear()
        commit(tracker)

    put_in_place(Tracker, "_count", watched_count)
    put_in_place(Tracker, "_commit", armed_commit)


def _arm_planner(victim: Victim, transactions: Transactions) -> None:
    from producers.chunk import Chunk, Publication

    publications = Chunk.publications

    def armed(chunk: Chunk, names: Names, now: datetime) -> Iterator[Publication]:
        tasks = len(chunk.tasks)
        if tasks:
            victim.reach(Point.BEFORE_PRODUCE, lambda: {"tasks planned": tasks}, lambda: None)
        for publication in publications(chunk, names, now):
            if tasks and publication[0] == names.plans:
                victim.reach(
                    Point.BEFORE_CHECKPOINT,
                    lambda: {"tasks published": tasks},
                    lambda: flush(transactions.last),
                )
            yield publication

    put_in_place(Chunk, "publications", armed)
