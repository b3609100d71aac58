"""What a document's source holds, as far as a few seconds tell: how many accounts, and at which hosts.

Hosts are asked nothing but by sources that are lists of hosts themselves; the directory is asked for a sample
of the accounts that neither the source nor the mirror places at a host.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from atp.identity import Identity
from producers.resolve import Resolves, account_of, resolve_one
from producers.sources import Reach, open_source
from producers.sources.base import AccountSource, Entry
from producers.sources.hosts import RELAY_BEGINNING, SILENT, HostDirectory, origin_named
from producers.sources.relay import Relay
from schemas.backfill import Backfill
from schemas.errors import AddressForbidden, IdentityError, SourceError
from schemas.job_specs import JobSpec
from schemas.sources import HostsSource, RelaySource

_SAMPLE = 200
_AT_ONCE = 16
_MOST_COUNTED = 2_000_000
"""Accounts that are kept in memory, to know those named twice."""
_JOB_ID = "dry-run"


@dataclass
class Found:
    """What was found in the source so far."""

    accounts: set[str] = field(default_factory=set)
    hosts: Counter[str] = field(default_factory=Counter)
    unplaced: list[str] = field(default_factory=list)
    """A random sample of the accounts that nobody places at a host without being asked."""
    unplaced_count: int = 0
    unresolvable: int = 0
    """Of the sample."""
    duplicates: int = 0
    gone: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    whole: bool = False
    listed: int = 0
    """Accounts that the relay counted, where nobody read their names."""


class Survey:
    """Life: made, `take` once."""

    def __init__(
        self,
        backfill: Backfill,
        reach: Reach,
        resolver: Resolves,
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        """`seconds` is for reading the source and for asking the directory together."""
        self._backfill, self._reach, self._resolver = backfill, reach, resolver
        self._seconds, self._clock = seconds, clock
        self._chance = chance or random.Random()

    async def take(self) -> Found:
        """Raises SourceError where the source can't be read at all."""
        begun = self._clock()
        spec = JobSpec(job_id=_JOB_ID, backfill=self._backfill, submitted_at=datetime.now(UTC))
        found = await self._listed(spec) or await self._read(
            open_source(spec, self._reach), begun + self._seconds / 2
        )
        await self._ask(found, begun + self._seconds)
        return found

    async def _listed(self, spec: JobSpec) -> Found | None:
        """What the relay says of its hosts, for jobs over all of them; None for other sources, and where it
        does not say."""
        source = self._backfill.source
        if not isinstance(source, HostsSource | RelaySource):
            return None
        count = Found(whole=True)
        directory = HostDirectory(Relay(source, spec, self._reach), [*RELAY_BEGINNING])
        try:
            async with asyncio.timeout(self._seconds / 2):
                while (row := await directory.next()) is not None:
                    self._take_host(row, count)
        except (SourceError, TimeoutError):
            return None
        finally:
            await directory.close()
        return count if count.listed else None

    def _take_host(self, row: dict[str, Any], count: Found) -> None:
        name, accounts = row.get("hostname"), row.get("accountCount")
        if row.get("status") in SILENT or not isinstance(name, str) or not isinstance(accounts, int):
            return
        try:
            origin = origin_named(name, self._reach)
        except (AddressForbidden, IdentityError):
            return
        count.listed += max(0, accounts)
        count.hosts[origin] += max(0, accounts)

    async def _read(self, source: AccountSource, deadline: float) -> Found:
        """The source, to its end or until the time is over."""
        count = Found()
        try:
            async with asyncio.timeout(max(0.1, deadline - self._clock())), aclosing(source.pages()) as pages:
                async for page in pages:
                    self._take(page.entries, count)
                    count.left_out.update(page.left_out)
                    count.notes.extend(page.notes)
                    if len(count.accounts) >= _MOST_COUNTED or self._clock() > deadline:
                        return count
                count.whole = True
        except TimeoutError:
            if not count.accounts:
                raise SourceError(
                    f"{source.name} gave nothing within {self._seconds / 2:.0f} s; a job waits longer for it"
                ) from None
        return count

    def _take(self, entries: Sequence[Entry], count: Found) -> None:
        fresh: list[Entry] = []
        for entry in entries:
            account = account_of(entry.account)
            if account in count.accounts:
                count.duplicates += 1
                continue
            count.accounts.add(account)
            if entry.gone is not None:
                count.gone += 1
            else:
                fresh.append(entry)
        known = self._resolver.known([entry.account for entry in fresh if entry.identity is None])
        for entry in fresh:
            identity = entry.identity or known.get(entry.account)
            host = identity.pds if isinstance(identity, Identity) else entry.host
            if host is not None:
                count.hosts[host] += 1
            elif identity is None:
                self._sample(account_of(entry.account), count)

    def _sample(self, account: str, count: Found) -> None:
        """Each account has the same chance to be among those that are asked for."""
        count.unplaced_count += 1
        if len(count.unplaced) < _SAMPLE:
            count.unplaced.append(account)
        elif (place := self._chance.randrange(count.unplaced_count)) < _SAMPLE:
            count.unplaced[place] = account

    async def _ask(self, count: Found, deadline: float) -> None:
        """Places the sample at hosts, and the others like it."""
        waiting, found, missing = list(count.unplaced), Counter[str](), 0

        async def go_on() -> int:
            lost = 0
            while waiting and self._clock() < deadline:
                answer = await resolve_one(self._resolver, waiting.pop())
                if isinstance(answer, Identity):
                    found[answer.pds] += 1
                else:
                    lost += 1
            return lost

        tasks = [asyncio.create_task(go_on()) for _ in range(min(_AT_ONCE, len(waiting)))]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=max(0.1, deadline - self._clock()))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            missing = sum(task.result() for task in tasks if not task.cancelled() and not task.exception())
        asked = found.total() + missing
        if asked:
            for host, number in found.items():
                count.hosts[host] += max(1, round(number * count.unplaced_count / asked))
            if asked < count.unplaced_count:
                count.notes.append(
                    f"the hosts of {count.unplaced_count:,} accounts are guessed from {asked:,} that were "
                    f"resolved; a mirror of the PLC directory (`skyfill plc sync`) knows them all"
                )
        elif count.unplaced_count:
            count.notes.append("the directory answered for none of the accounts in time: hosts are not known")
        count.unresolvable = missing
