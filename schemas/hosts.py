"""Topic `hosts`: what the worker that holds a host knows of it, keyed by origin, compacted.

A hint, written without transaction: nothing exact depends on it. It lets a learnt budget and a known outage
survive a restart and move with the partition, and shows everybody how each host fares.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.message import Count, Instant, Message

BreakerState = Literal["closed", "open", "half_open"]
Seconds = Annotated[float, Field(ge=0)]


class BucketState(Message):
    """A budget that the host tells of in RateLimit headers."""

    kinds: list[str] = Field(default_factory=list)
    """Methods that were seen to share it, e.g. `getRepo`; one not seen yet is assumed to share all."""
    limit: Count
    remaining: Count
    window_seconds: Seconds | None = None
    resets_at: Instant
    reset_mark: Seconds
    """The same as the host put it, in seconds since 1970 by its clock."""


class HiddenState(Message):
    """A budget that the host does not tell of, learnt from its refusals."""

    limit: Count | None = None
    """Requests a window; absent: not learnt yet."""
    shortest_seconds: Seconds = 0
    longest_seconds: Seconds | None = None
    """The window's length lies between the two; absent: not learnt yet."""
    began_at: Instant | None = None
    sent: Count = 0
    """Requests in the present window."""


class HostState(Message):
    """One host as it stands."""

    origin: str
    buckets: list[BucketState] = Field(default_factory=list)
    hidden: HiddenState | None = None
    breaker: BreakerState = "closed"
    retry_at: Instant | None = None
    """When an open breaker lets the next request through."""
    failing_since: Instant | None = None
    """The first failure after the last success."""
    last_failure_at: Instant | None = None
    last_success_at: Instant | None = None
    given_up: list[str] = Field(default_factory=list)
    """Jobs whose dead letter about this host is written; empty once the host answers again."""
    requests: Count = 0
    refusals: Count = 0
    """Of the requests, those answered 429."""
    counted_since: Instant
    """When the two counts began."""
    handed_over: bool = False
    """Written as the last thing before the host was given away: it was asked nothing after it."""
    updated_at: Instant
