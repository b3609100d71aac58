"""What sources need of the world beside their own section of the document."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from atp.limiter import HostLimiter
from atp.retry import Backoff
from atp.xrpc import Client
from schemas.errors import SourceError
from schemas.job_specs import JobSpec
from schemas.job_status import JobStatus
from schemas.settings import Settings


class JobBook(Protocol):
    """What is known of jobs, as of now."""

    def spec(self, job_id: str) -> JobSpec | None:
        """The job as it stands; None if there is none of this id."""

    def status(self, job_id: str) -> JobStatus | None:
        """What the tracker said last; None while it has said nothing."""


class Limiters:
    """One limiter for each host, shared by all that ask it from this process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._limiters: dict[str, HostLimiter] = {}

    def of(self, origin: str) -> HostLimiter:
        """The host's, made when first asked for."""
        return self._limiters.setdefault(origin, HostLimiter(self._clock))


@dataclass(frozen=True)
class Reach:
    """Life: made once by the planner, handed to each source."""

    settings: Settings
    client: Client | None
    jobs: JobBook
    limiters: Limiters = field(default_factory=Limiters)
    backoff: Backoff = field(default_factory=Backoff)
    """For one host of many."""
    relay_backoff: Backoff = field(default_factory=lambda: Backoff(attempts=10, first=1.0))
    """For the one that everything hangs on: about four minutes."""

    def network(self) -> Client:
        """The client for asking hosts. Raises SourceError where there is none."""
        if self.client is None:
            raise SourceError("this planner was started without access to the network")
        return self.client
