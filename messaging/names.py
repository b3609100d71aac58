"""Names on the broker: every topic, group and transactional id, under one prefix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SinkKind = Literal["parquet", "dynamodb"]
SINK_KINDS: tuple[SinkKind, ...] = ("parquet", "dynamodb")


@dataclass(frozen=True)
class Names:
    """All names that begin with `prefix` (e.g. `skyfill.`)."""

    prefix: str

    @property
    def jobs(self) -> str:
        return f"{self.prefix}jobs"

    @property
    def job_specs(self) -> str:
        return f"{self.prefix}job-specs"

    @property
    def plans(self) -> str:
        return f"{self.prefix}plans"

    @property
    def dids(self) -> str:
        return f"{self.prefix}dids"

    @property
    def dids_retry(self) -> str:
        return f"{self.prefix}dids.retry"

    @property
    def records(self) -> str:
        return f"{self.prefix}records"

    @property
    def outcomes(self) -> str:
        return f"{self.prefix}outcomes"

    @property
    def deadletter(self) -> str:
        return f"{self.prefix}deadletter"

    @property
    def replays(self) -> str:
        return f"{self.prefix}replays"

    @property
    def ledger(self) -> str:
        return f"{self.prefix}ledger"

    @property
    def job_status(self) -> str:
        return f"{self.prefix}job-status"

    @property
    def repos(self) -> str:
        return f"{self.prefix}repos"

    @property
    def rates(self) -> str:
        return f"{self.prefix}rates"

    @property
    def hosts(self) -> str:
        return f"{self.prefix}hosts"

    @property
    def job_hosts(self) -> str:
        return f"{self.prefix}job-hosts"

    @property
    def configs(self) -> str:
        return f"{self.prefix}configs"

    @property
    def tokens(self) -> str:
        return f"{self.prefix}tokens"

    @property
    def audit(self) -> str:
        return f"{self.prefix}audit"

    @property
    def webhooks(self) -> str:
        return f"{self.prefix}webhooks"

    @property
    def planner_group(self) -> str:
        return f"{self.prefix}planner"

    @property
    def worker_group(self) -> str:
        return f"{self.prefix}workers"

    @property
    def tracker_group(self) -> str:
        return f"{self.prefix}tracker"

    @property
    def rates_group(self) -> str:
        """Not among `groups`: it may lose its place, its figures are approximate anyway."""
        return f"{self.prefix}rates"

    @property
    def notifier_group(self) -> str:
        """Not among `groups`: it only shares partitions out, and has no place in them."""
        return f"{self.prefix}notifier"

    def sink_group(self, kind: SinkKind) -> str:
        return f"{self.prefix}sink.{kind}"

    def groups(self) -> dict[str, list[str]]:
        """Every consumer group that keeps its place in Kafka, and the topics it reads."""
        return {
            self.planner_group: [self.jobs],
            self.worker_group: [self.dids, self.dids_retry],
            self.tracker_group: [self.outcomes],
        } | {self.sink_group(kind): [self.records] for kind in SINK_KINDS}

    def transactional_id(self, group: str, slot: int | None = None) -> str:
        """One per process; the same after a restart, so that it fences its predecessor."""
        return group if slot is None else f"{group}.{slot}"
