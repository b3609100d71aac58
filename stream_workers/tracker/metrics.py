"""What a tracker can be asked while it works."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from messaging.instruments import GroupMetrics, TransactionMetrics
from messaging.metrics import CounterOf, GaugeOf, Readings, Section
from schemas.outcomes import JobEvent, PlanOutcome, RepoOutcome

OUTCOMES = CounterOf(
    "skyfill_outcomes_total",
    "Outcomes that were counted, by kind: an account's status, `plan`, `event`, or `invalid` and set aside.",
    "Those of a transaction that is aborted count too, and come again. `invalid` means that something else "
    "writes into `outcomes`; each has a dead letter.",
    ("kind",),
)
JOBS = GaugeOf(
    "skyfill_jobs",
    "Jobs of this tracker's partitions, by whether they have ended.",
    "Unfinished jobs beside a standstill of skyfill_outcomes_total: nobody fetches, or nobody plans.",
    ("state",),
)
SECTION = Section("Tracker", "Exported by `skyfill tracker`.", (OUTCOMES, JOBS))


class TrackerMetrics:
    """Of one tracker."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.transactions = TransactionMetrics(registry)
        self.group = GroupMetrics(registry)
        self._outcomes = OUTCOMES.make(registry)
        self._readings = Readings(registry)

    def watch(self, jobs: Callable[[], tuple[int, int]]) -> None:
        """`jobs` gives the unfinished and the ended ones; asked at every scrape, from another thread."""

        def read() -> dict[tuple[str, ...], float]:
            unfinished, ended = jobs()
            return {("unfinished",): unfinished, ("ended",): ended}

        self._readings.show(JOBS, read)

    def counted(self, outcome: RepoOutcome | PlanOutcome | JobEvent) -> None:
        """An outcome was read."""
        kinds: dict[type, str] = {PlanOutcome: "plan", JobEvent: "event"}
        kind = outcome.status if isinstance(outcome, RepoOutcome) else kinds[type(outcome)]
        self._outcomes.labels(kind).inc()

    def set_aside(self) -> None:
        """A message was none."""
        self._outcomes.labels("invalid").inc()
