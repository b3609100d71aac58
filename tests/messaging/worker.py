"""A worker process as a stream worker is one: one thread polls, another publishes and commits, errands end in
any order, and a second round goes through the retry topic. Run with its orders as JSON."""

from __future__ import annotations

import faulthandler
import heapq
import logging
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any, cast

from confluent_kafka import Producer

from messaging import clients, membership
from messaging.crash import end_with
from messaging.names import Names
from messaging.task_stream import Task, TaskStream
from messaging.topics import topics
from messaging.transactions import TransactionalPublisher
from schemas.errors import FencedError
from tests.messaging.errands import Errand, Orders


class Worker:
    """Life: made, `run` until `stop` is set."""

    def __init__(self, orders: Orders) -> None:
        self.stop = threading.Event()
        self._orders, self._names = orders, Names(orders.kafka.topic_prefix)
        self._chance = random.Random(orders.seed)
        self._lock = threading.RLock()
        self._arrived: SimpleQueue[Task] = SimpleQueue()
        self._settled: list[Task] = []
        own_id = self._names.transactional_id(self._names.worker_group, orders.slot)
        producer = clients.transactional_producer(orders.kafka, own_id)
        if orders.stops_before_end:
            producer = cast("Producer", Stopping(producer))
        self._publisher = TransactionalPublisher(
            producer, {topic.name: topic.partitions for topic in topics(orders.kafka)}
        )
        self._publisher.open()
        self._stream = TaskStream(
            orders.kafka,
            self._names.worker_group,
            self._names.dids,
            self._names.dids_retry,
            lock=self._lock,
            before_revoke=self._give_up,
        )

    def run(self) -> None:
        settling = threading.Thread(target=self._settle)
        settling.start()
        while not self.stop.is_set():
            tasks = self._stream.poll(0.05)
            for task in tasks:
                self._arrived.put(task)
            if tasks:
                self.stop.wait(self._orders.poll_pause)
        settling.join()
        self._stream.close()

    def _give_up(self, partitions: Sequence[tuple[str, int]]) -> None:
        self._commit()

    def _settle(self) -> None:
        try:
            due: list[tuple[float, Task]] = []
            committed_at = time.monotonic()
            while not self.stop.wait(0.01):
                self._take(due)
                while due and due[0][0] <= time.monotonic():
                    self._publish(heapq.heappop(due)[1])
                if time.monotonic() - committed_at >= self._orders.commit_every:
                    self._commit()
                    committed_at = time.monotonic()
        except BaseException as error:
            end_with(error)

    def _take(self, due: list[tuple[float, Task]]) -> None:
        while True:
            try:
                task = self._arrived.get_nowait()
            except Empty:
                return
            seconds = self._orders.delay * self._chance.choice([0.0, 0.2, 0.5, 1.0, 5.0])
            heapq.heappush(due, (time.monotonic() + seconds, task))

    def _publish(self, task: Task) -> None:
        with self._lock:
            if not self._stream.held(task):
                return
            errand = Errand.decode(task.value)
            self._publisher.publish_all(self._names.records, task.key, errand.results)
            if errand.next_round:
                self._publisher.publish(self._names.dids_retry, task.key, errand.next_round.encode())
            self._stream.finish(task)
            self._settled.append(task)

    def _commit(self) -> None:
        with self._lock:
            offsets = self._stream.offsets()
            if not offsets and not self._publisher.in_transaction:
                return
            if not all(self._stream.held(task) for task in self._settled):
                raise FencedError("a partition went away while its transaction was open")
            self._publisher.commit(offsets, self._stream.membership)
            self._stream.mark_committed(offsets)
            self._settled.clear()


class Stopping:
    """A producer whose process stops when the broker knows its offsets, but not how the transaction ends."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._sent = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def __len__(self) -> int:
        return len(self._producer)

    def produce(self, *args: Any) -> None:
        self._sent += 1
        self._producer.produce(*args)

    def commit_transaction(self, timeout: float) -> None:
        if self._sent > 0:
            self._producer.flush(timeout)
            # To this very thread: if another one took the signal, this one would run on for a moment.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        self._producer.commit_transaction(timeout)


def main(orders: Orders) -> None:
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    membership._READ_BACK_SECONDS = orders.read_back_patience
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        worker = Worker(orders)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop.set())
        worker.run()
    except Exception as error:
        end_with(error)


if __name__ == "__main__":
    main(Orders.decode(sys.argv[1].encode()))
