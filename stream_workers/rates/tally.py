"""What happened in one stretch of time: sums that can be added up. Pure, and bounded whatever comes.

Hosts and record types beyond the first so many of a stretch count together as `others`.
"""

from __future__ import annotations

from schemas.outcomes import RepoOutcome
from stream_workers.rates.histogram import Histogram

MOST_HOSTS = 128
MOST_TYPES = 64
MOST_ERRORS = 32
"""Keys of each kind in one stretch. There are ten error types; a newer writer may know a few more."""
LONGEST_NAME = 300
"""Characters; a longer host or record type counts among the others."""
UNRESOLVED = "(unresolved)"


class HostTally:
    """One host, or several together."""

    __slots__ = ("bytes", "completed", "errors", "records", "repositories", "seconds")

    def __init__(self) -> None:
        self.repositories = self.records = self.bytes = self.errors = self.completed = 0
        self.seconds = 0.0

    def add(self, outcome: RepoOutcome) -> None:
        """Counts one outcome."""
        self.repositories += outcome.status != "retrying"
        self.records += sum(outcome.records.values())
        self.bytes += outcome.bytes
        self.errors += outcome.error_type is not None
        if outcome.status == "completed":
            self.completed += 1
            self.seconds += outcome.seconds

    def merge(self, other: HostTally) -> None:
        """Adds the other's sums."""
        self.repositories += other.repositories
        self.records += other.records
        self.bytes += other.bytes
        self.errors += other.errors
        self.completed += other.completed
        self.seconds += other.seconds


class Tally:
    """A stretch of time, or several together. `merge` keeps every host: it is for sums that do not stay."""

    __slots__ = ("all", "errors", "hosts", "other_hosts", "other_types", "seconds", "types")

    def __init__(self) -> None:
        self.all = HostTally()
        self.seconds = Histogram()
        """Of completed repositories."""
        self.errors: dict[str, int] = {}
        self.hosts: dict[str, HostTally] = {}
        self.other_hosts = HostTally()
        self.types: dict[str, int] = {}
        self.other_types = 0

    def add(self, outcome: RepoOutcome) -> None:
        """Counts one outcome."""
        self.all.add(outcome)
        if outcome.status == "completed":
            self.seconds.add(outcome.seconds)
        if (error := outcome.error_type) and (error in self.errors or len(self.errors) < MOST_ERRORS):
            self.errors[error] = self.errors.get(error, 0) + 1
        self._host(outcome.host or UNRESOLVED).add(outcome)
        for name, number in outcome.records.items():
            if name in self.types or (len(self.types) < MOST_TYPES and len(name) <= LONGEST_NAME):
                self.types[name] = self.types.get(name, 0) + number
            else:
                self.other_types += number

    def merge(self, other: Tally) -> None:
        """Adds the other's sums."""
        self.all.merge(other.all)
        self.seconds.merge(other.seconds)
        for error, number in other.errors.items():
            self.errors[error] = self.errors.get(error, 0) + number
        for host, tally in other.hosts.items():
            self.hosts.setdefault(host, HostTally()).merge(tally)
        self.other_hosts.merge(other.other_hosts)
        for name, number in other.types.items():
            self.types[name] = self.types.get(name, 0) + number
        self.other_types += other.other_types

    def _host(self, host: str) -> HostTally:
        if (known := self.hosts.get(host)) is not None:
            return known
        if len(self.hosts) >= MOST_HOSTS or len(host) > LONGEST_NAME:
            return self.other_hosts
        return self.hosts.setdefault(host, HostTally())
