"""Hopping windows over event time. Pure: the caller says what time it is.

A window is a row of stretches ("hops") that ends now; each outcome counts in the hop that it happened in,
in whatever order outcomes come. What is older than the window is left out. A window never holds more hops
than fit into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

from schemas.outcomes import RepoOutcome
from schemas.rates import WINDOW_SECONDS, HostRates, RateWindow
from schemas.words import ranked
from stream_workers.rates.tally import HostTally, Tally

HOPS = {60: 2, 300: 10, 3600: 60}
"""Window -> hop, both in seconds: how far the window moves at once."""
LONGEST = max(WINDOW_SECONDS)
SHOWN_HOSTS = 10
SHOWN_TYPES = 20
_LEAST_SECONDS = 2.0
"""A rate over less than this would be a wild guess."""


class HoppingWindow:
    """One window of a job: `add` outcomes, ask for the `sum`."""

    def __init__(self, seconds: int, hop: int) -> None:
        """`seconds` has to be a multiple of `hop`."""
        self.seconds, self._hop, self._length = seconds, hop, seconds // hop
        self._hops: dict[int, Tally] = {}

    def __len__(self) -> int:
        return len(self._hops)

    def starts(self, now: float) -> float:
        """Where the window begins: `now` lies in its last hop."""
        return float((self._place(now) - self._length + 1) * self._hop)

    def add(self, outcome: RepoOutcome, at: float, now: float) -> bool:
        """Counts an outcome of the time `at` (seconds since 1970); False if that is before the window."""
        self._forget(now)
        # A clock that is ahead of ours, or ours that was set back: it has happened, so it is not in future.
        place = self._place(min(at, now))
        if place <= self._place(now) - self._length:
            return False
        if (tally := self._hops.get(place)) is None:
            tally = self._hops[place] = Tally()
        tally.add(outcome)
        return True

    def sum(self, now: float) -> Tally:
        """All that the window holds now."""
        self._forget(now)
        total = Tally()
        for tally in self._hops.values():
            total.merge(tally)
        return total

    def _forget(self, now: float) -> None:
        last = self._place(now)
        # One hop ahead is let be: a clock that was set back by a little is no reason to lose figures.
        for place in [p for p in self._hops if not last - self._length < p <= last + 1]:
            del self._hops[place]

    def _place(self, at: float) -> int:
        return int(at // self._hop)


class JobWindows:
    """All windows of one job."""

    def __init__(self) -> None:
        self._windows = [HoppingWindow(seconds, HOPS[seconds]) for seconds in WINDOW_SECONDS]
        self._first: float | None = None

    def add(self, outcome: RepoOutcome, at: float, now: float) -> bool:
        """Counts an outcome of the time `at`; False if it is too old for every window."""
        counted = [window.add(outcome, at, now) for window in self._windows]
        if any(counted):
            at = min(at, now)
            self._first = at if self._first is None else min(self._first, at)
        return any(counted)

    def rates(self, now: float) -> list[RateWindow]:
        """Each window, the shortest first."""
        return [self._rates(window, now) for window in self._windows]

    def _rates(self, window: HoppingWindow, now: float) -> RateWindow:
        begin = window.starts(now)
        if self._first is not None:
            begin = min(now, max(begin, self._first))
        covered = max(_LEAST_SECONDS, now - begin)
        return rate_window(window.sum(now), window.seconds, covered)


def rate_window(total: Tally, seconds: int, covered: float) -> RateWindow:
    """Sums to rates: the busiest hosts and most frequent record types by name, all others together."""
    hosts, rest = _busiest(total)
    types = ranked(total.types)
    other_types = total.other_types + sum(number for _, number in types[SHOWN_TYPES:])
    return RateWindow(
        seconds=seconds,
        covered_seconds=round(covered, 3),
        repositories=total.all.repositories,
        repositories_per_second=_per(total.all.repositories, covered),
        records_per_second=_per(total.all.records, covered),
        bytes_per_second=_per(total.all.bytes, covered),
        p50_seconds=_rounded(total.seconds.percentile(0.50)),
        p99_seconds=_rounded(total.seconds.percentile(0.99)),
        errors=dict(sorted(total.errors.items())),
        hosts={host: _host_rates(tally, covered) for host, tally in hosts.items()},
        other_hosts=_host_rates(rest, covered) if rest.repositories or rest.errors else None,
        types={name: _per(number, covered) for name, number in types[:SHOWN_TYPES]},
        other_types=_per(other_types, covered),
    )


def _busiest(total: Tally) -> tuple[Mapping[str, HostTally], HostTally]:
    busy = attrgetter("repositories", "records", "errors")
    ranked = sorted(total.hosts.items(), key=lambda item: (busy(item[1]), item[0]), reverse=True)
    rest = HostTally()
    rest.merge(total.other_hosts)
    for _, tally in ranked[SHOWN_HOSTS:]:
        rest.merge(tally)
    return dict(ranked[:SHOWN_HOSTS]), rest


def _host_rates(tally: HostTally, covered: float) -> HostRates:
    return HostRates(
        repositories_per_second=_per(tally.repositories, covered),
        records_per_second=_per(tally.records, covered),
        bytes_per_second=_per(tally.bytes, covered),
        mean_seconds=_rounded(tally.seconds / tally.completed) if tally.completed else None,
        errors=tally.errors,
    )


def _per(number: int, seconds: float) -> float:
    return round(number / seconds, 3)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
