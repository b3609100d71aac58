"""Hosts that are down in every way there is: real sockets, a clock that jumps over pauses, no broker.

The driver does what the worker does with schedule, hosts and visits, and keeps the endings.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from atp.identity import Resolver
from atp.retry import Backoff
from atp.xrpc import Client
from local.network.faults import CutShort, Fault, HostDown, RateLimited, ServerError, Stalled
from local.network.network import Network
from schemas.hosts import HostState
from schemas.job_specs import JobSpec
from stream_workers.fetch import doubts
from stream_workers.fetch.budget import ByteBudget
from stream_workers.fetch.ending import Ending, Fetched, Retry
from stream_workers.fetch.fetcher import Fetcher
from stream_workers.fetch.hosts import Host, Hosts
from stream_workers.fetch.metrics import HostMetrics
from stream_workers.fetch.schedule import Schedule, Work
from stream_workers.fetch.selection import Selection
from stream_workers.fetch.visits import Visits
from tests.atp.test_blame import NoSuchName
from tests.stream_workers.deployment import tasks_of
from tests.stream_workers.documents import job_spec, work_of

SILENCE = 0.4
SLOWER = 20
ACCOUNTS, HOSTS = 24, 3
"""Accounts by turns on the hosts; host 0 is the one in trouble."""
DOWN: dict[str, Fault] = {
    "refused": HostDown(0),
    "black hole": HostDown(0, silent=True),
    "head": Stalled(host=0, at="head"),
    "body": Stalled(host=0, at="body"),
    "trickle": Stalled(host=0, at="trickle"),
    "cut": CutShort(host=0),
    "502": ServerError(host=0, status=502),
}
NEVER_CONNECTED = ("refused", "black hole")


class Clock:
    """Slower than the real one, so that no pause ends by itself on a busy machine; it can be set ahead."""

    def __init__(self) -> None:
        self._began = time.time()
        self.ahead = 0.0

    def __call__(self) -> float:
        return self._began + (time.time() - self._began) / SLOWER + self.ahead


class Jobs:
    """As many as needed, all of one kind."""

    def __init__(self, **limits: Any) -> None:
        self._spec = job_spec("job", processing={"timeout_seconds": SILENCE * 1.5} | limits)

    def spec(self, job_id: str) -> JobSpec:
        return self._spec

    def selection(self, spec: JobSpec) -> Selection:
        return Selection(spec.backfill)


class Driver:
    """Life: `add` tasks, `drive`, look at the endings."""

    def __init__(self, network: Network, client: Client, folder: Path, jobs: Jobs) -> None:
        self.network, self.clock, self.jobs = network, Clock(), jobs
        self.known: dict[str, HostState] = {}
        self._reader = ThreadPoolExecutor(1)
        fetcher = Fetcher(
            client,
            Resolver(client, plc_url=network.plc_url, backoff=Backoff(attempts=1)),
            ByteBudget(2**24),
            self._reader,
            spool_bytes=2**24,
            spool_folder=folder,
        )
        self.hosts = Hosts(self.known.get, HostMetrics(), self.clock)
        self.schedule = Schedule(jobs.spec, self.hosts)
        self.visits = Visits(fetcher, self.hosts, self.schedule, jobs, self.clock)  # type: ignore[arg-type]
        self.endings: defaultdict[str, list[Ending]] = defaultdict(list)
        self.most: Counter[str] = Counter()
        self._running: dict[asyncio.Task[Any], Work] = {}

    def add(self, numbers: Sequence[int], **fields: Any) -> None:
        for task in tasks_of(self.network, "job", numbers, **fields):
            self.hosts.expect(task, 0)
            self.schedule.add(work_of(task), self.clock())

    def host(self, number: int) -> Host:
        return self.hosts.of(self.network.hosts[number], 0)

    async def drive(self, *, until: int | None = None, seconds: float = 60.0) -> None:
        """Until so many accounts have ended, or nothing is left to do but to wait for a pause."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            while found := self.schedule.next_work(self.clock()):
                task = asyncio.create_task(self.visits.visit(found, self.jobs.spec("job")))
                self._running[task] = found
            at_hosts = Counter(w.did_task.pds for w in self._running.values())
            self.most = self.most | at_hosts
            if until is not None and len(self.endings) >= until:
                return
            if self._running:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED, timeout=0.2)
                self._take_in()
            elif (due := self.schedule.next_due()) is not None and due < self.clock() + 3.5:
                self.clock.ahead += max(0.0, due - self.clock()) + 0.01
            else:
                return
        raise AssertionError(f"no end of it: {self.endings.keys()}")

    def skip_pause(self) -> None:
        """To where something is due again."""
        due = self.schedule.next_due()
        assert due is not None
        self.clock.ahead += due - self.clock() + 0.01

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._reader.shutdown()

    def _take_in(self) -> None:
        for task in [task for task in self._running if task.done()]:
            work = self._running.pop(task)
            self.schedule.done(work)
            found = task.result()
            if callable(found):
                found()
                continue
            self.endings[work.did_task.did].append(found)
            if isinstance(found, Fetched):
                found.spool.close()
            if isinstance(found, Retry):
                again = work.did_task.model_copy(update={"attempt": work.did_task.attempt + 1})
                self.schedule.defer(work_of(again), self.clock() + found.delay)


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[Driver]:
    async with (
        Network(seed=8, accounts=ACCOUNTS, hosts=HOSTS, records=20) as network,
        Client(allow_private_hosts=True, timeout=SILENCE, connect_timeout=SILENCE) as client,
    ):
        made = Driver(network, client, tmp_path, Jobs(requests_per_second=10_000))
        yield made
        await made.close()


@pytest.mark.parametrize("how", DOWN)
@pytest.mark.parametrize("proven", [False, True])
async def test_an_outage_costs_no_account_an_attempt_and_the_other_hosts_nothing(
    driver: Driver, how: str, proven: bool
) -> None:
    """A host goes down, its breaker opens, a probe finds it down still, it comes back: all are fetched."""
    network = driver.network
    if proven:
        driver.add([0])
        await driver.drive()
    await network.inject(DOWN[how])
    driver.add(range(1, ACCOUNTS))
    await driver.drive()
    healthy = [network.dids[n] for n in range(ACCOUNTS) if n % HOSTS]
    assert set(healthy) <= driver.endings.keys()
    assert driver.endings.keys() - set(healthy) == ({network.dids[0]} if proven else set())
    breaker = driver.host(0).breaker
    assert breaker.state(driver.clock()) == "open"
    assert breaker.failing_since is not None
    budget = driver.host(0).limiter.budget
    asked = budget.requests - proven
    if how in NEVER_CONNECTED and not proven:
        assert asked == 1
    else:
        assert 5 <= asked <= 12
    if not proven:
        assert driver.most[network.hosts[0]] == 1

    driver.skip_pause()
    await driver.drive()
    assert breaker.is_open
    assert budget.requests - proven == asked + 1

    await network.withdraw(DOWN[how])
    driver.skip_pause()
    await driver.drive(until=ACCOUNTS - (not proven))
    assert breaker.state(driver.clock()) == "closed"
    assert {type(e) for endings in driver.endings.values() for e in endings} == {Fetched}
    assert all(len(endings) == 1 for endings in driver.endings.values())


async def test_a_name_that_does_not_exist_opens_it_at_once(tmp_path: Path) -> None:
    async with (
        Network(seed=8, accounts=6, hosts=1, records=5) as network,
        Client(allow_private_hosts=True, resolver=NoSuchName()) as client,
    ):
        driver = Driver(network, client, tmp_path, Jobs())
        driver.add(range(6), pds="http://gone.test")
        await driver.drive()
        assert driver.hosts.of("http://gone.test", 0).breaker.is_open
        assert driver.endings == {}
        await driver.close()


@pytest.mark.parametrize("fault", [CutShort(account=0), Stalled(account=0), ServerError(account=0)])
async def test_trouble_with_one_account_at_a_host_that_answers_is_that_accounts(
    driver: Driver, fault: Fault
) -> None:
    await driver.network.inject(fault)
    driver.add(range(ACCOUNTS))
    await driver.drive(until=ACCOUNTS)
    assert [type(e) for e in driver.endings[driver.network.dids[0]]][:1] == [Retry]
    assert not driver.host(0).breaker.is_open
    gone = driver.network.ledger.count(did=driver.network.dids[0])
    assert gone == len(driver.endings[driver.network.dids[0]])  # each go was paid for
    others = [e for did, endings in driver.endings.items() if did != driver.network.dids[0] for e in endings]
    assert {type(e) for e in others} == {Fetched}


async def test_an_account_pays_while_others_are_still_being_answered(driver: Driver) -> None:
    driver.jobs._spec = job_spec("job", processing={"requests_per_second": 4 * SLOWER})
    await driver.network.inject(CutShort(account=0))
    driver.add(range(0, ACCOUNTS, HOSTS))
    await driver.drive(until=3)
    driver.clock.ahead += doubts.SECONDS
    await driver.drive(until=ACCOUNTS // HOSTS - 1)
    mine = driver.endings[driver.network.dids[0]]
    assert driver.network.ledger.count(did=driver.network.dids[0]) == len(mine) > 0
    assert {type(e) for e in mine} == {Retry}


async def test_the_probe_after_one_that_failed_is_another_account(driver: Driver) -> None:
    """The host is back, but the account that asked first would find it failing for ever."""
    await driver.network.inject(HostDown(0))
    driver.add(range(0, ACCOUNTS, HOSTS))
    await driver.drive()
    await driver.network.withdraw(HostDown(0))
    await driver.network.inject(ServerError(account=0))
    for _ in range(3):
        driver.skip_pause()
        await driver.drive(until=5)
        if not driver.host(0).breaker.is_open:
            break
    assert not driver.host(0).breaker.is_open
    fetched = {did for did, endings in driver.endings.items() if isinstance(endings[0], Fetched)}
    assert len(fetched) >= 5


async def test_an_account_alone_at_its_host_pays_for_itself(driver: Driver) -> None:
    await driver.network.inject(CutShort(account=0, first=2))
    driver.add([0])
    await driver.drive(until=1)
    await driver.drive()
    assert [type(e) for e in driver.endings[driver.network.dids[0]]] == [Retry, Retry, Fetched]


async def test_a_host_with_errors_about_accounts_answers(driver: Driver) -> None:
    for account in range(0, ACCOUNTS, HOSTS):
        await driver.network.inject(ServerError(account=account, status=500))
    driver.add(range(0, ACCOUNTS, HOSTS))
    await driver.drive(until=ACCOUNTS // HOSTS)
    assert not driver.host(0).breaker.is_open
    assert all(isinstance(endings[0], Retry) for endings in driver.endings.values())


async def test_a_long_pause_holds_no_place(driver: Driver) -> None:
    await driver.network.inject(RateLimited(0, limit=3, window=60))
    driver.add(range(ACCOUNTS))
    await driver.drive()
    done = [n for n in range(ACCOUNTS) if driver.network.dids[n] in driver.endings]
    assert sum(n % HOSTS == 0 for n in done) == 3
    assert sum(n % HOSTS != 0 for n in done) == ACCOUNTS * (HOSTS - 1) // HOSTS
    assert driver.network.ledger.count(host="pds0", status=429) == 0
    assert 50 < (driver.schedule.next_due() or 0) - driver.clock() < 62
    assert not driver._running


async def test_what_is_learnt_is_passed_on(driver: Driver) -> None:
    await driver.network.inject(RateLimited(0, limit=3, window=60))
    await driver.network.inject(HostDown(1))
    driver.add(range(ACCOUNTS))
    await driver.drive()
    states = {host.origin: host.state(commits=1, handed_over=True) for host in driver.hosts.forget([0])}
    driver.known |= {origin: HostState.decode(state.encode()) for origin, state in states.items()}
    limited, down, fine = (driver.known[origin] for origin in driver.network.hosts)
    assert (limited.requests, limited.refusals, limited.breaker) == (3, 0, "closed")
    assert [bucket.kinds for bucket in limited.buckets] == [["getRepo"]]
    assert (down.breaker, down.last_success_at) == ("open", None)
    assert down.failing_since is not None
    assert (fine.requests, fine.breaker, fine.failing_since) == (8, "closed", None)
    assert driver.host(0).ready_at("getRepo", driver.clock()) > driver.clock() + 50
    assert driver.host(1).breaker.is_open
    assert not driver.host(2).breaker.is_suspect
    assert driver.host(0).state(commits=1).requests == 3
    assert driver.hosts.by_state() == {"closed": 2, "open": 1, "half_open": 0}
