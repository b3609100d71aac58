"""A job is cancelled while its downloads drip: connections are closed at once, and nobody is asked again.

Real sockets, no broker; the driver does what the worker does with schedule, visits and cancelling.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atp.identity import Resolver
from atp.retry import Backoff
from atp.xrpc import Client
from local.network.faults import ServerError, Slow, Stalled, Unavailable
from local.network.network import Network
from schemas.job_specs import JobSpec, JobState
from stream_workers.fetch.budget import ByteBudget
from stream_workers.fetch.cancelling import Cancelling
from stream_workers.fetch.ending import Cancelled, Ending, Fetched
from stream_workers.fetch.fetcher import Fetcher
from stream_workers.fetch.hosts import Hosts
from stream_workers.fetch.jobs import Jobs
from stream_workers.fetch.metrics import HostMetrics
from stream_workers.fetch.schedule import Schedule, Work
from stream_workers.fetch.visits import Back, Visits
from tests.stream_workers.deployment import tasks_of
from tests.stream_workers.documents import job_spec, work_of

ACCOUNTS = 12
LONG = 600


class View:
    """What the topic `job-specs` would say."""

    def __init__(self) -> None:
        self.items: dict[str, JobSpec] = {}


class Driver:
    """Life: `begin` tasks, turn the job's state, look at the endings."""

    def __init__(self, network: Network, client: Client, reader: ThreadPoolExecutor, folder: Path) -> None:
        self.network, self.view, self.budget = network, View(), ByteBudget(2**24)
        jobs = Jobs(self.view)  # type: ignore[arg-type]
        resolver = Resolver(client, plc_url=network.plc_url, backoff=Backoff(attempts=20))
        fetcher = Fetcher(client, resolver, self.budget, reader, spool_bytes=2**24, spool_folder=folder)
        self.hosts = Hosts(lambda origin: None, HostMetrics(), time.time)
        self.schedule = Schedule(jobs.spec, self.hosts)
        visits = Visits(fetcher, self.hosts, self.schedule, jobs, time.time)
        self.cancelling = Cancelling(jobs, self.schedule, visits)
        self.running: dict[Work, asyncio.Task[Ending | Back]] = {}

    def turn(self, job: str, state: JobState, **processing: float) -> None:
        self.view.items[job] = job_spec(job, state, processing=processing)
        self.cancelling.look()

    def add(self, numbers: Iterable[int], job: str = "job") -> None:
        for task in tasks_of(self.network, job, numbers):
            self.schedule.add(work_of(task), time.time())

    def begin(self) -> None:
        while work := self.schedule.next_work(time.time()):
            spec = self.view.items[work.did_task.job_id]
            self.running[work] = asyncio.create_task(self.cancelling.visit(work, spec))

    async def endings(self) -> list[Ending | Back]:
        return await asyncio.wait_for(asyncio.gather(*self.running.values()), LONG / 10)

    def asked(self) -> int:
        ledger = self.network.ledger
        return sum(ledger.count(host=host) + ledger.in_flight(host) for host in ("pds0", "pds1", "plc"))


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[Driver]:
    with ThreadPoolExecutor(1) as reader:
        async with (
            Network(seed=3, accounts=ACCOUNTS, hosts=2, records=20) as network,
            Client(allow_private_hosts=True, timeout=LONG) as client,
        ):
            made = Driver(network, client, reader, tmp_path)
            # Both hosts have proven themselves, so that several are asked at once.
            made.turn("first", "active")
            made.add([0, 1], "first")
            made.begin()
            for ending in await made.endings():
                assert isinstance(ending, Fetched)
                ending.spool.close()
            for work in made.running:
                made.schedule.done(work)
            made.running.clear()
            yield made


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG / 10
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("at", ["head", "body", "trickle"])
async def test_downloads_of_a_cancelled_job_are_broken_off(driver: Driver, at: str) -> None:
    ledger = driver.network.ledger
    await driver.network.inject(Stalled(host=0, at=at))  # type: ignore[arg-type]
    driver.turn("job", "active", max_concurrent_per_pds=3)
    driver.turn("other", "active")
    driver.add(range(2, ACCOUNTS, 2))
    driver.begin()
    await until(lambda: ledger.in_flight("pds0") == 3)
    before = driver.asked()

    driver.turn("job", "cancelled", max_concurrent_per_pds=3)
    assert [type(each) for each in await driver.endings()] == [Cancelled] * 3
    await until(lambda: ledger.in_flight("pds0") == 0)
    assert driver.asked() == before
    assert driver.budget.used == 0
    waiting = await driver.cancelling.take(10)
    assert len(waiting) == 2
    assert driver.schedule.next_work(time.time() + LONG) is None
    for work in list(driver.running):
        driver.schedule.done(work)
        del driver.running[work]

    driver.add([3], "other")  # another job goes on
    driver.begin()
    (ending,) = await driver.endings()
    assert isinstance(ending, Fetched)
    ending.spool.close()


async def test_whoever_waits_for_a_turn_at_the_host_is_told_too(driver: Driver) -> None:
    driver.turn("job", "active", requests_per_second=0.001)
    driver.add([2, 4, 6])
    driver.begin()
    (first,) = (await asyncio.wait(driver.running.values(), return_when=asyncio.FIRST_COMPLETED))[0]
    before = driver.asked()
    driver.turn("job", "cancelled")
    endings = await driver.endings()
    assert Counter(map(type, endings)) == {Fetched: 1, Cancelled: 2}
    fetched = first.result()  # it had come to its end, and is published
    assert isinstance(fetched, Fetched)
    fetched.spool.close()
    assert driver.asked() == before


async def test_the_directory_is_not_asked_on(driver: Driver) -> None:
    """An account is said to be gone: the directory would be asked whether it has moved."""
    await driver.network.inject(Unavailable(account=2, state="deactivated"))
    await driver.network.inject(Slow(host="plc", seconds=LONG))
    driver.turn("job", "active")
    driver.add([2])
    driver.begin()
    await until(lambda: driver.network.ledger.in_flight("plc") == 1)
    driver.turn("job", "cancelled")
    assert [type(each) for each in await driver.endings()] == [Cancelled]
    await until(lambda: driver.network.ledger.in_flight("plc") == 0)


async def test_a_go_that_failed_meanwhile_is_not_repeated(driver: Driver) -> None:
    await driver.network.inject(ServerError(host=0, status=500))
    await driver.network.inject(Slow(host=0, seconds=LONG))
    driver.turn("job", "active")
    driver.add([2])
    driver.begin()
    await until(lambda: driver.network.ledger.in_flight("pds0") == 1)
    driver.view.items["job"] = job_spec("job", "cancelled")  # the worker knows, and has not looked yet
    await driver.network.withdraw(Slow(host=0, seconds=LONG))
    assert [type(each) for each in await driver.endings()] == [Cancelled]


async def test_a_partition_that_goes_is_no_cancelled_job(driver: Driver) -> None:
    await driver.network.inject(Stalled(host=0, at="body"))
    driver.turn("job", "active")
    driver.add([2, 4])
    driver.begin()
    await until(lambda: driver.network.ledger.in_flight("pds0") == 2)
    for task in driver.running.values():
        task.cancel()
    ended = await asyncio.gather(*driver.running.values(), return_exceptions=True)
    assert [type(each) for each in ended] == [asyncio.CancelledError] * 2
    driver.turn("job", "cancelled")
    for work in driver.running:
        driver.cancelling.add(work)
    driver.cancelling.drop(lambda work: False)
    taking = asyncio.create_task(driver.cancelling.take(1))
    await asyncio.sleep(0.05)
    assert not taking.done()
    taking.cancel()
