"""A job of 20 accounts that comes when 5,000 of another one wait at the same hosts, by a clock that jumps.

Schedule, hosts and limiters are the worker's; only what a host takes to answer is made up. On the whole
deployment, with 100,000 behind, the same is measured by benchmarks/fair_shares.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count

import pytest

from atp.limiter import HostPaused
from benchmarks.compressed_time import run
from stream_workers.fetch.ending import Unchanged
from stream_workers.fetch.hosts import WORTH_WAITING, Hosts
from stream_workers.fetch.metrics import HostMetrics
from stream_workers.fetch.schedule import Schedule, Work
from tests.stream_workers.documents import job_spec, work

START = 1_800_000_000.0
HOSTS = ("https://one.test", "https://two.test")
RATE = 10
LARGE, SMALL = 5_000, 20


def clock() -> float:
    return START + asyncio.get_running_loop().time()


class Worker:
    """Does what the worker does with its schedule; a host answers after `seconds`."""

    def __init__(self, seconds: float) -> None:
        specs = {job: job_spec(job) for job in ("large", "small")}
        assert specs["small"].backfill.processing.requests_per_second == RATE
        self.hosts = Hosts(lambda origin: None, HostMetrics(), clock)
        self.schedule = Schedule(specs.get, self.hosts)
        self.done: Counter[str] = Counter()
        self._seconds = seconds
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = count()

    def add(self, job: str, number: int) -> None:
        for n in range(number):
            each = work(f"did:plc:{next(self._numbers)}", job=job, host=HOSTS[n % 2])
            self.hosts.expect(each.did_task, 0)
            self.schedule.add(each, clock())

    async def work_until(self, job: str, accounts: int) -> float:
        """Returns when so many of the job are done; the seconds that took."""
        began = clock()
        while self.done[job] < accounts:
            self._wake.clear()
            while found := self.schedule.next_work(clock()):
                task = asyncio.create_task(self._go(found))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            due = self.schedule.next_due()
            try:
                await asyncio.wait_for(self._wake.wait(), None if due is None else due - clock())
            except TimeoutError:
                continue
        return clock() - began

    async def _go(self, found: Work) -> None:
        task = found.did_task
        host = self.hosts.of(task.pds, 0)
        try:
            async with host.limiter.visit(WORTH_WAITING).turn("getRepo", task.job_id, RATE):
                await asyncio.sleep(self._seconds)
        except HostPaused:
            self.schedule.done(found)
            self.schedule.again(found)
        else:
            host.heard(task, Unchanged("rev"), clock())
            self.done[task.job_id] += 1
            self.schedule.done(found)
        self._wake.set()


@pytest.mark.parametrize(
    ("seconds", "most"),
    [
        (0.2, 3.0),  # the small job's own pace: ten at each host, ten a second
        (5.0, 30.0),  # the large one has all places when it comes, and eight give way in five seconds
    ],
)
def test_a_small_job_does_not_wait_for_a_large_one(seconds: float, most: float) -> None:
    async def story() -> None:
        worker = Worker(seconds)
        worker.add("large", LARGE)
        await worker.work_until("large", 100)
        before = worker.done["large"]
        worker.add("small", SMALL)
        took = await worker.work_until("small", SMALL)
        assert took <= most
        assert worker.done["large"] > before  # which has its own share meanwhile
        for task in worker._tasks:
            task.cancel()

    run(story())
