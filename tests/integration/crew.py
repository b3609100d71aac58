"""Workers that come and go in a running deployment, and what the hosts of the network saw of them.

Each worker says its own name in its User-Agent, so that the network's ledger tells them apart.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack

from confluent_kafka import ConsumerGroupState

from local.network.faults import Slow
from local.network.ledger import Request
from local.network.network import Network
from local.process import ChildProcess
from local.supervisor import Role, Supervisor
from messaging import clients
from messaging.names import Names
from messaging.partitioner import partition_for
from schemas.settings import Settings
from tests.integration.rig import PATIENCE

MOST_HOSTS = 16
_ALL = 10_000
"""Lines of a log."""
AT_ONCE = 2
"""Downloads under way at a host: what the tests' jobs allow."""


class Crew:
    """The workers of a deployment, started and stopped one by one.

    One that has lost its place is started again: a commit that meets a rebalance may cost a worker its life.
    """

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings, self._stack = settings, stack
        self._names = Names(settings.kafka.topic_prefix)
        self._admin = clients.admin(settings.kafka)
        self.members: dict[str, ChildProcess] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}

    def add(self, slot: int) -> str:
        """Starts a worker, which names itself to the hosts; its name."""
        name = f"worker-{slot}"
        env = os.environ | {"SKYFILL_NETWORK__CONTACT": name, "SKYFILL_METRICS__PORT": "0"}
        role = Role(name, [sys.executable, "-m", "cli", "worker"], slot)
        supervisor = Supervisor([role], env, self._settings.data_dir)
        supervisor.start()
        self.members[name] = process = supervisor.running[0].process
        self._watching[name] = watching = asyncio.create_task(supervisor.watch())
        self._stack.push_async_callback(process.stop, grace=0)
        self._stack.callback(watching.cancel)
        return name

    async def balanced(self) -> dict[str, set[int]]:
        """The workers' partitions, once each is somebody's and all have the same number, give or take one."""
        wanted = self._settings.kafka.partitions.dids
        found: dict[str, set[int]] = {}

        async def fair() -> bool:
            nonlocal found
            if not await asyncio.to_thread(self._is_complete):
                return False
            found = {name: self._held(process) for name, process in self.members.items()}
            counts = [len(held) for held in found.values()]
            return (
                max(counts) - min(counts) <= 1
                and sum(counts) == wanted
                and set[int]().union(*found.values()) == set(range(wanted))
            )

        await until(fair, lambda: f"{found}; {self.logs()}")
        return found

    async def dismiss(self, names: Iterable[str]) -> list[ChildProcess]:
        """SIGTERM; returns when each begins nothing new, but may still end what is under way."""
        going = []
        for name in list(names):
            self._watching[name].cancel()
            process = self.members.pop(name)
            assert process.pid is not None
            if process.running:
                os.kill(process.pid, signal.SIGTERM)
            going.append(process)

        async def told() -> bool:
            return all(not p.running or "told to stop" in p.log_tail(_ALL) for p in going)

        await until(told, lambda: "\n".join(process.log_tail() for process in going))
        return going

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"{name}: {process.log_tail(6)}" for name, process in self.members.items())

    def _is_complete(self) -> bool:
        """Whether the broker counts all workers in, and no rebalance is under way."""
        group = self._names.worker_group
        described = self._admin.describe_consumer_groups([group])[group].result(30)
        return described.state == ConsumerGroupState.STABLE and len(described.members) == len(self.members)

    @staticmethod
    def _held(process: ChildProcess) -> set[int]:
        said = re.findall(r"workers (?:holds|keeps) \[([\d, ]*)\] of ", process.log_tail(_ALL))
        return {int(partition) for partition in said[-1].split(",") if partition} if said else set()


class Asked:
    """The hosts that a test asks, one for each partition, and what the network's ledger says of them."""

    def __init__(self, network: Network, partitions: int) -> None:
        chosen = {partition_for(origin, partitions): number for number, origin in enumerate(network.hosts)}
        self._numbers = list(chosen.values())[:MOST_HOSTS]
        self._network = network
        self.hosts = {f"pds{n}": partition_for(network.hosts[n], partitions) for n in self._numbers}
        """Host, as the ledger names it -> its partition."""
        firsts = {network.account(number).host: did for number, did in reversed([*enumerate(network.dids)])}
        self.firsts = [firsts[number] for number in self._numbers]
        """An account of each host: a host that never answered is asked for one account at a time."""
        self.dids = [
            did for number, did in enumerate(network.dids) if network.account(number).host in self._numbers
        ]

    async def hold(self) -> None:
        """Answers wait until `release`."""
        for number in self._numbers:
            await self._network.inject(Slow(host=number, seconds=600))

    async def release(self) -> None:
        """All that waits is answered."""
        for number in self._numbers:
            await self._network.withdraw(Slow(host=number, seconds=600))

    async def waiting(self) -> dict[str, int]:
        """Returns when every host has as many downloads under way as may be; how many have come to each."""

        async def full() -> bool:
            return all(self._network.ledger.in_flight(host) == AT_ONCE for host in self.hosts)

        await until(full, lambda: str({h: self._network.ledger.in_flight(h) for h in self.hosts}))
        return {host: self._arrived(host) for host in self.hosts}

    async def again(self, hosts: Iterable[str], before: dict[str, int]) -> None:
        """Returns when each of these hosts has been asked again: its new worker is there, while nothing is
        answered."""

        async def came() -> bool:
            return all(self._arrived(host) > before[host] for host in hosts)

        await until(came, lambda: str({h: self._arrived(h) - before[h] for h in hosts}))

    def by(self, host: str, *, since: float) -> set[str]:
        """The workers that asked a host since then."""
        requests = self._network.ledger.requests(host=host)
        return {worker_of(request) for request in requests if request.time >= since}

    def _arrived(self, host: str) -> int:
        return self._network.ledger.count(host=host) + self._network.ledger.in_flight(host)


def meetings(requests: Iterable[Request]) -> list[tuple[Request, Request]]:
    """Requests of two workers that were open at one host at the same time."""
    found = []
    hosts: dict[str, list[Request]] = defaultdict(list)
    for request in requests:
        if request.host.startswith("pds"):
            hosts[request.host].append(request)
    for at_host in hosts.values():
        under_way: list[Request] = []
        for request in sorted(at_host, key=lambda each: each.time):
            under_way = [other for other in under_way if other.time + other.seconds > request.time]
            found += [(other, request) for other in under_way if worker_of(other) != worker_of(request)]
            under_way.append(request)
    return found


def worker_of(request: Request) -> str:
    named = re.fullmatch(r"skyfill/\S+ \(\+(worker-\d+)\)", request.user_agent)
    assert named, f"no worker of this test: {request}"
    return named[1]


async def until(holds: Callable[[], Awaitable[bool]], what: Callable[[], str]) -> None:
    """Returns when `holds()` is true; fails after a time that only a hung test takes."""
    deadline = time.monotonic() + PATIENCE
    while not await holds():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.1)
