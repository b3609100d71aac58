"""The limiter against simulated hosts on a compressed clock: how much of each budget it uses, and the 429s.

    python -m benchmarks.limiter [--plot FILE]

The hosts count as `local.network.buckets` does, which is held against the reference PDS; requests take
20 to 300 ms. Counts only: nothing here depends on the speed of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from atp.limiter import HostLimiter
from atp.xrpc import retry_after
from benchmarks.compressed_time import run
from cli.console import out, table
from local.network.buckets import Buckets
from local.network.faults import HiddenLimit, RateLimited
from schemas.errors import RateLimited as Refused

START = 1_800_000_000.25
WINDOW = 300
_LANES = 8
"""Requests under way at once for each job and kind, as `max_concurrent_per_pds` has it."""
_LATENCY = (0.02, 0.3)
_QUIET = 2.0
"""A budget that is spent is followed by more seconds without a request than this."""


@dataclass(frozen=True)
class Scenario:
    """A host, and who asks it for what: job -> kind -> requests a second that the job allows."""

    name: str
    limit: RateLimited | HiddenLimit
    jobs: Mapping[str, Sequence[str]]
    rate: float
    learning: int
    """Windows before the count begins: the learning phase."""
    windows: int = 6
    beside: HiddenLimit | None = None
    """A budget that the host has beside the one it advertises."""


@dataclass
class Log:
    """What happened: (time, kind, job, whether it was taken), by the host's clock from 0 on."""

    requests: list[tuple[float, str, str, bool]] = field(default_factory=list)

    def between(self, begin: float, end: float) -> Log:
        """The part of it."""
        return Log([entry for entry in self.requests if begin <= entry[0] < end])

    def taken(self, kinds: Sequence[str] = ()) -> int:
        """Requests that were not refused, of these kinds, or of all."""
        return sum(taken and (not kinds or kind in kinds) for _, kind, _, taken in self.requests)

    @property
    def refused(self) -> int:
        """429 answers."""
        return sum(not taken for *_, taken in self.requests)


_REPO, _REST = ("getRepo",), ("listRecords", "getLatestCommit")
_ADVERTISED = RateLimited(0, limit=3000, window=WINDOW, repo_limit=6000)
_HIDDEN = HiddenLimit(0, limit=3000, window=WINDOW)
_TOLD_LATE = HiddenLimit(0, limit=3000, window=WINDOW, retry_after=True)
SCENARIOS = (
    Scenario("headers, 6,000 getRepo", _ADVERTISED, {"job": _REPO}, 1000, learning=0),
    Scenario("headers, 6,000 and 3,000", _ADVERTISED, {"job": _REPO + _REST}, 1000, learning=0),
    Scenario("headers, 30 a second", _ADVERTISED, {"job": _REPO}, 30, learning=0),
    Scenario("no headers, 3,000 in total", _HIDDEN, {"job": _REPO + _REST}, 1000, learning=6),
    Scenario("no headers, 11 a second", _HIDDEN, {"job": _REPO}, 11, learning=6),
    Scenario("headers say 6,000, 3,000 taken", _ADVERTISED, {"job": _REPO}, 1000, learning=6, beside=_HIDDEN),
    Scenario("Retry-After only, 3,000", _TOLD_LATE, {"job": _REPO}, 1000, learning=2),
)


class SimulatedHost:
    """Counts as the simulated network does."""

    def __init__(self, scenario: Scenario, rng: random.Random, log: Log) -> None:
        self._limit, self._beside, self._rng, self._log = scenario.limit, scenario.beside, rng, log
        self._buckets = Buckets(clock)

    async def ask(self, kind: str, job: str) -> Mapping[str, str]:
        """The headers of an answer. Raises schemas.errors.RateLimited."""
        await asyncio.sleep(self._rng.uniform(*_LATENCY) / 2)
        prefix = "com.atproto.sync" if kind.startswith("get") else "com.atproto.repo"
        headers: dict[str, str]
        if self._beside and not self._buckets.spend_hidden(self._beside, "us")[0]:
            allowed, headers = False, {}
        elif isinstance(self._limit, RateLimited):
            allowed, headers = self._buckets.spend(self._limit, "us", f"{prefix}.{kind}")
        else:
            allowed, headers = self._buckets.spend_hidden(self._limit, "us")
        self._log.requests.append((clock() - START, kind, job, allowed))
        headers["Date"] = format_datetime(datetime.fromtimestamp(int(clock()), UTC), usegmt=True)
        await asyncio.sleep(self._rng.uniform(*_LATENCY) / 2)
        if not allowed:
            raise Refused("429", retry_after(headers), headers)
        return headers


def clock() -> float:
    """Seconds since 1970, as the simulation has it."""
    return START + asyncio.get_running_loop().time()


async def simulate(scenario: Scenario, seconds: float, *, seed: int = 1) -> Log:
    """Everybody asks as fast as the limiter lets them."""
    log = Log()
    host = SimulatedHost(scenario, random.Random(seed), log)
    limiter = HostLimiter(clock)

    async def lane(job: str, kind: str) -> None:
        while True:
            try:
                async with limiter.turn(kind, job, scenario.rate) as turn:
                    turn.answered(await host.ask(kind, job))
            except Refused:
                continue

    lanes = [
        asyncio.create_task(lane(job, kind))
        for (job, kinds), _ in itertools.product(scenario.jobs.items(), range(_LANES))
        for kind in kinds
    ]
    await asyncio.sleep(seconds)
    for each in lanes:
        each.cancel()
    await asyncio.gather(*lanes, return_exceptions=True)
    return log


@dataclass(frozen=True)
class Result:
    """One scenario after its learning phase."""

    scenario: Scenario
    log: Log
    requests: int
    refused: int
    used: Mapping[str, float]
    """Share of each budget that was used, waiting for a window's end included."""
    refused_while_learning: int
    begin: float
    """When the learning phase had ended, in seconds."""


def measure(scenario: Scenario) -> Result:
    """Runs it, and counts."""
    begin = scenario.learning * WINDOW * 1.25
    end = begin + scenario.windows * WINDOW
    log = run(simulate(scenario, end))
    counted = log.between(begin, end)
    used = {
        "+".join(kinds) or "total": share_used(counted, kinds, limit) for kinds, limit in budgets(scenario)
    }
    before = log.between(0, begin).refused
    return Result(scenario, log, len(counted.requests), counted.refused, used, before, begin)


def share_used(log: Log, kinds: Sequence[str], limit: int) -> float:
    """Of what the host would have given from the beginning of one window to that of a later one."""
    times = [time for time, kind, _, taken in log.requests if taken and (not kinds or kind in kinds)]
    begins = [later for earlier, later in itertools.pairwise(times) if later - earlier > _QUIET]
    taken = sum(begins[0] <= time < begins[-1] for time in times)
    return taken / (limit * (begins[-1] - begins[0]) / WINDOW)


def budgets(scenario: Scenario) -> list[tuple[Sequence[str], int]]:
    limit, kinds = (
        scenario.beside or scenario.limit,
        {kind for kinds in scenario.jobs.values() for kind in kinds},
    )
    if isinstance(limit, HiddenLimit):
        return [((), limit.limit)]
    found: list[tuple[Sequence[str], int]] = [(_REPO, limit.repo_limit or limit.limit)]
    return [*found, (_REST, limit.limit)] if kinds & set(_REST) else found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser("python -m benchmarks.limiter", description=__doc__)
    parser.add_argument("--plot", type=Path, help="draw it, too, as SVG or PNG by the name's ending")
    asked = parser.parse_args()
    results = [measure(scenario) for scenario in SCENARIOS]
    made = table("host", "a second", "requests", "429s", "of all", "used", "429s learning", numbers=True)
    for result in results:
        made.add_row(
            result.scenario.name,
            f"{result.scenario.rate:g}",
            f"{result.requests:,}",
            f"{result.refused}",
            f"{result.refused / result.requests:.3%}",
            ", ".join(f"{share:.1%} {name}" for name, share in result.used.items()),
            f"{result.refused_while_learning}",
        )
    out.print(made)
    if asked.plot:
        from benchmarks.limiter_plot import draw  # matplotlib is a tool of development

        draw(results, asked.plot)


if __name__ == "__main__":
    main()
