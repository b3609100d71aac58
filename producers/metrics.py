"""What a planner can be asked while it works."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from messaging.instruments import GroupMetrics, HttpMetrics, TransactionMetrics
from messaging.metrics import COUNTS, CounterOf, GaugeOf, HistogramOf, Readings, Section
from producers.chunk import Chunk

COMMANDS = CounterOf(
    "skyfill_commands_total",
    "Commands that were judged, by what was made of them.",
    "`rejected` and `ignored` ones name the reason in the log and in `deadletter`.",
    ("event",),
)
ACCOUNTS = CounterOf(
    "skyfill_planned_accounts_total",
    "Entries of sources by what became of them: `task`, an outcome's status, `duplicate` or `left_out`.",
    "`failed`: the directory does not answer; replay them later. A standstill: the source is slow, or all "
    "active jobs have enough tasks outstanding.",
    ("result",),
)
CHUNK_ACCOUNTS = HistogramOf(
    "skyfill_chunk_accounts",
    "Accounts of a chunk, which is one transaction.",
    "Far fewer than `batch_size`: resolving is slow, and planner.chunk_seconds ends each chunk early.",
    buckets=COUNTS,
)
ACTIVE = GaugeOf(
    "skyfill_planner_active",
    "1 if this process is the one that plans, 0 if it stands by.",
    "No process with 1: nobody plans.",
)
SECTION = Section(
    "Producer",
    "Exported by `skyfill producer`.",
    (COMMANDS, ACCOUNTS, CHUNK_ACCOUNTS, ACTIVE),
)


class PlannerMetrics:
    """Of one planner."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.transactions = TransactionMetrics(registry)
        self.group = GroupMetrics(registry)
        self.http = HttpMetrics(registry)
        self._commands = COMMANDS.make(registry)
        self._accounts = ACCOUNTS.make(registry)
        self._chunk_accounts = CHUNK_ACCOUNTS.make(registry)
        self._readings = Readings(registry)

    def watch(self, active: Callable[[], bool]) -> None:
        """Asked at every scrape, from another thread."""
        self._readings.show_value(ACTIVE, active)

    def judged(self, event: str) -> None:
        """A command was followed, or not."""
        self._commands.labels(event).inc()

    def planned(self, chunk: Chunk, duplicates: int, left_out: int) -> None:
        """A chunk was committed; so many entries of it named an account again, or were no accounts."""
        self._accounts.labels("task").inc(len(chunk.tasks))
        for outcome in chunk.outcomes:
            self._accounts.labels(outcome.status).inc()
        self._accounts.labels("duplicate").inc(duplicates)
        self._accounts.labels("left_out").inc(left_out)
        self._chunk_accounts.observe(len(chunk.tasks) + len(chunk.outcomes))
