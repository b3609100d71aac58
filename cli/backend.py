"""Jobs as the commands see them, whether they are asked for through Kafka or through the API.

Both ways answer the same, and fail with the same errors and exit codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import typer

from schemas.backfill import Backfill
from schemas.errors import ConfigError
from schemas.estimate import Estimate
from schemas.job_status import JobHost, JobStatus, Status
from schemas.message import Count, Instant, Message
from schemas.rates import JobRates
from schemas.report import CompletenessReport

Action = Literal["cancel", "pause", "resume"]
API_URL, API_TOKEN = "SKYFILL_API_URL", "SKYFILL_API_TOKEN"
Api = Annotated[
    str | None,
    typer.Option(
        "--api", envvar=API_URL, show_default="straight through Kafka", help="URL of the API to ask instead."
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token", envvar=API_TOKEN, help="Token for the API; better set than typed.", metavar="TOKEN"
    ),
]


@dataclass(frozen=True)
class Wanted:
    """What is to be started or estimated: a document, or a stored config and what is to differ."""

    backfill: Backfill | None = None
    config: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Standing:
    """A job as it stands."""

    status: JobStatus
    explanation: str
    rates: JobRates | None = None
    hosts: Mapping[str, JobHost] = field(default_factory=dict)


@dataclass(frozen=True)
class ChosenJobs:
    """Which jobs are meant; what is absent makes no difference."""

    statuses: frozenset[Status] = frozenset()
    name: str | None = None
    since: datetime | None = None


class JobLine(Message):
    """A job in a line."""

    job_id: str
    name: str | None = None
    status: Status
    total: Count
    plan_finished: bool
    completed: Count
    skipped: Count
    unavailable: Count
    failed: Count
    cancelled: Count
    retrying: Count
    records: Count
    bytes: Count
    submitted_at: Instant | None = None
    started_at: Instant | None = None
    finished_at: Instant | None = None
    stale_since: Instant | None = None

    @property
    def ended(self) -> int:
        """Accounts that are done with."""
        return self.completed + self.skipped + self.unavailable + self.failed + self.cancelled


class Jobs(Protocol):
    """Life: opened, asked, closed. For one thread. Methods raise ConfigError for what the user has to mend,
    DeploymentError where nobody answers."""

    def start(self, wanted: Wanted, job_id: str | None) -> str:
        """Submits a job; its id. The same document under the same id is the same job."""

    def plan(self, wanted: Wanted) -> Estimate:
        """What a job would take."""

    def turn(self, job_id: str, action: Action, *, force: bool = False) -> None:
        """Sends a command about a job that is there and can follow it."""

    def standing(self, job_id: str, *, detailed: bool = False) -> Standing | None:
        """The job as it stands; None if nobody has heard of it. `detailed`: with rates and hosts."""

    def wait(self, seconds: float) -> None:
        """Returns once something may have changed, after so many seconds at the latest."""

    def lines(self, chosen: ChosenJobs) -> list[JobLine]:
        """Jobs in the order of their submission."""

    def report(self, job_id: str) -> CompletenessReport:
        """How complete a job is."""

    def close(self) -> None:
        """Leaves."""


@contextmanager
def opened(api: str | None, token: str | None, data: Path | None) -> Iterator[Jobs]:
    """The jobs behind the API of this URL; without one, those on the broker that the settings name."""
    jobs: Jobs
    if api is not None:
        if data is not None:
            raise ConfigError("--data names a deployment of this machine, --api any; give one of the two")
        from cli.api_jobs import ApiJobs

        jobs = ApiJobs(api, token)
    else:
        from cli.kafka_jobs import KafkaJobs
        from cli.settings import connected_settings

        jobs = KafkaJobs(connected_settings(data))
    try:
        yield jobs
    finally:
        jobs.close()


def unknown(job_id: str) -> ConfigError:
    """Nobody has heard of it."""
    return ConfigError(f"there is no job {job_id}; `skyfill jobs` lists those there are")
