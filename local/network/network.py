"""The simulated network as one object: PLC, PDSs and a relay over HTTP, from a seed and a list of faults.

The same arguments always give the same accounts, repositories and truth; only the ports differ.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Self

from local.network.accounts import Account, Population
from local.network.active import ActiveFaults
from local.network.answer import Service
from local.network.directory import Directory
from local.network.faults import Corrupted, Fault, Host, HostDown, Moved, RateLimited, Unavailable
from local.network.ledger import Ledger
from local.network.pds import Pds
from local.network.records import Record
from local.network.relay import Relay
from local.network.server import HostServer
from local.network.store import RepoStore
from local.network.truth import AccountTruth, Truth
from schemas.errors import ConfigError, LocalServerError


class Network:
    """A simulated network.

    ``accounts`` live on ``hosts`` PDSs with ``records`` records each in the mean (see ``Population`` for
    ``spread``, ``crowding`` and ``sizes``). ``ports`` are for PLC, the relay and then each PDS, in this
    order; missing or 0 is any free port. ``car_budget`` bounds the kept CAR files, in bytes. ``clock``
    gives epoch seconds, for rate limits and the ledger.
    """

    def __init__(
        self,
        *,
        seed: int,
        accounts: int,
        hosts: int,
        records: int,
        faults: Sequence[Fault] = (),
        spread: float = 1.0,
        crowding: float = 0.0,
        sizes: Mapping[int, int] = MappingProxyType({}),
        ports: Sequence[int] = (),
        car_budget: int = 256 * 2**20,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._population = Population(
            seed=seed,
            accounts=accounts,
            hosts=hosts,
            records=records,
            spread=spread,
            crowding=crowding,
            sizes=sizes,
        )
        self._faults = ActiveFaults()
        for fault in faults:
            self._check(fault)
            self._faults.inject(fault)
        self.ledger = Ledger(clock)
        self._store = RepoStore(self._population, self._faults, car_budget=car_budget)
        self._truth = Truth(self._population, self._faults, self._store)
        names: list[Host] = ["plc", "relay", *range(hosts)]
        wanted = [*ports, *[0] * len(names)]
        self._servers = {
            name: HostServer(name, self._population, self._faults, self.ledger, clock, port=port)
            for name, port in zip(names, wanted, strict=False)
        }
        self._outages: dict[HostDown, asyncio.Task[None]] = {}
        self._services: dict[Host, Service] = {}

    @classmethod
    def demo(cls, *, seed: int = 1, accounts: int = 100, hosts: int = 4, records: int = 200) -> Self:
        """A small network with what the demo shows: a rate-limited host, a taken-down, a moved and a
        corrupted account. Needs at least 2 hosts and 4 accounts (ConfigError)."""
        if hosts < 2 or accounts < 4:
            raise ConfigError("the demo's network needs at least 2 hosts and 4 accounts")
        share = -(-accounts // hosts)
        faults: list[Fault] = [
            # Less than half of what the host's accounts need within one window: the limiter has to wait.
            RateLimited(host=0, limit=max(2, share // 2), window=5),
            Unavailable(account=1, state="takendown"),
            Moved(account=2, to_host=1 if 2 % hosts != 1 else 0, stale_answers=1),
            Corrupted(account=3, how="flipped_byte"),
        ]
        return cls(seed=seed, accounts=accounts, hosts=hosts, records=records, faults=faults)

    @property
    def plc_url(self) -> str:
        return self._servers["plc"].origin

    @property
    def relay_url(self) -> str:
        return self._servers["relay"].origin

    @property
    def hosts(self) -> list[str]:
        """The PDSs' origins by number; known after ``start``."""
        return [self._servers[n].origin for n in range(self._population.hosts)]

    @property
    def dids(self) -> Sequence[str]:
        """All DIDs by account number, whatever state the accounts are in."""
        return self._population.dids

    @property
    def handles(self) -> list[str]:
        return [self.account(number).handle for number in range(len(self.dids))]

    def account(self, number: int) -> Account:
        """The account of that number."""
        return self._population.account(number)

    def truth(self) -> Iterator[AccountTruth]:
        """What a perfect backfill would hold, account by account; see ``truth.py``."""
        return iter(self._truth)

    def write(self, number: int, key: str, record: Record | None) -> str:
        """An account creates, replaces or (None) deletes a record, "collection/rkey"; its new rev."""
        return self._store.writes.add(self.account(number), key, record)

    async def start(self) -> None:
        """Listen on all ports. Raises LocalServerError if one is taken; then nothing listens."""
        try:
            for server in self._servers.values():
                server.reserve()
        except OSError as error:
            await self.stop()
            message = f"the simulated network can't listen: {error}; free the port or give another"
            raise LocalServerError(message) from error
        self._services = self._make_services()
        for name in self._servers:
            await self.host_up(name)
        for fault in self._faults:
            if isinstance(fault, HostDown):
                await self._begin_outage(fault)

    async def stop(self) -> None:
        """End outages, close all connections and free the ports. May be called twice."""
        for fault in list(self._outages):
            await self._end_outage(fault)
        for server in self._servers.values():
            await server.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def inject(self, fault: Fault) -> None:
        """Put a fault in force in the running network; an outage begins as it says, counted from now."""
        self._check(fault)
        self._faults.inject(fault)
        if isinstance(fault, HostDown):
            await self._begin_outage(fault)

    async def withdraw(self, fault: Fault) -> None:
        """End a fault; a host that was down is up again. ValueError if it isn't in force."""
        self._faults.withdraw(fault)
        if isinstance(fault, HostDown):
            await self._end_outage(fault)
            await self.host_up(fault.host)

    async def host_down(self, host: Host, *, silent: bool = False) -> None:
        """Take a host off the network now, until ``host_up``; see HostDown."""
        await self._servers[host].down(silent=silent)

    async def host_up(self, host: Host) -> None:
        """Bring a host back, on its old port."""
        await self._servers[host].up(self._services[host])

    async def warm(self) -> int:
        """Build every repository that fits the budget ahead of its first request; returns their bytes.

        Worth it before ``start`` for large networks: building takes about 25 us of CPU a record, and holds up
        every answer meanwhile.
        """
        total = 0
        for number in range(len(self.dids)):
            total += self._store.warm(self.account(number))
            await asyncio.sleep(0)
        return total

    def _make_services(self) -> dict[Host, Service]:
        origins = self.hosts
        shared = (self._population, self._faults, self._store)
        pdses = [Pds(number, origin, *shared) for number, origin in enumerate(origins)]
        return {
            "plc": Directory(self._population, self._faults, self.ledger, origins, self._truth_lines),
            "relay": Relay(self._population, self._faults, pdses, origins, self._store),
            **dict(enumerate(pdses)),
        }

    async def _truth_lines(self, records: bool) -> AsyncIterator[bytes]:
        origins = self.hosts
        for number in range(len(self.dids)):
            account = self.account(number)
            yield self._truth.line(account, origins[self._truth.host(account)], records=records)

    async def _begin_outage(self, fault: HostDown) -> None:
        if fault.begins <= 0:
            await self.host_down(fault.host, silent=fault.silent)
        if fault.begins > 0 or fault.lasts is not None:
            self._outages[fault] = asyncio.create_task(self._outage(fault))

    async def _end_outage(self, fault: HostDown) -> None:
        task = self._outages.pop(fault, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _outage(self, fault: HostDown) -> None:
        if fault.begins > 0:
            await asyncio.sleep(fault.begins)
            await self.host_down(fault.host, silent=fault.silent)
        if fault.lasts is not None:
            await asyncio.sleep(fault.lasts)
            await self.host_up(fault.host)

    def _check(self, fault: Fault) -> None:
        """ConfigError for an account or host that the network doesn't have."""
        account: int | None = getattr(fault, "account", None)
        if account is not None and not 0 <= account < len(self._population):
            raise ConfigError(f"{fault} names an account that the network doesn't have")
        for host in (getattr(fault, "host", None), getattr(fault, "to_host", None)):
            if isinstance(host, int) and not 0 <= host < self._population.hosts:
                raise ConfigError(f"{fault} names a host that the network doesn't have")
