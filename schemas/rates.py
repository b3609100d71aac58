"""Topic `rates`: how fast each job goes, keyed by job id. Approximate: no exact figure may be made of it.

Written by the Faust application every few seconds while a job does something, kept for a day.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.message import Count, Instant, Message

WINDOW_SECONDS = (60, 300, 3600)
"""The windows, the shortest first."""
Rate = Annotated[float, Field(ge=0)]


class HostRates(Message):
    """One host's part in a window, or that of several hosts together."""

    repositories_per_second: Rate = 0
    """Accounts that ended, whatever their outcome."""
    records_per_second: Rate = 0
    bytes_per_second: Rate = 0
    mean_seconds: Rate | None = None
    """Of a completed repository; absent: none was completed."""
    errors: Count = 0
    """Attempts that failed."""


class RateWindow(Message):
    """What the last `seconds` brought, per second."""

    seconds: Annotated[int, Field(gt=0)]
    covered_seconds: Rate
    """The part of the window that lies behind the job's first outcome: what the rates are per second of."""
    repositories: Count = 0
    """Accounts that ended in the window."""
    repositories_per_second: Rate = 0
    records_per_second: Rate = 0
    bytes_per_second: Rate = 0
    p50_seconds: Rate | None = None
    """Half of the completed repositories took at most so long; absent: none was completed."""
    p99_seconds: Rate | None = None
    errors: dict[str, int] = Field(default_factory=dict)
    """Attempts that failed, by error type."""
    hosts: dict[str, HostRates] = Field(default_factory=dict)
    """The busiest ones."""
    other_hosts: HostRates | None = None
    """All others together."""
    types: dict[str, float] = Field(default_factory=dict)
    """Records per second of the most frequent record types."""
    other_types: Rate = 0
    """Records per second of all others together."""


class JobRates(Message):
    """A job's windows, the shortest first."""

    job_id: str
    windows: list[RateWindow]
    updated_at: Instant
