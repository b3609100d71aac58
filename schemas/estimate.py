"""What a dry run says of a document: how many accounts, from where, and what fetching them would take.

Nothing here is a promise: what is counted, what is sampled and what is only assumed is told apart.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.message import Count, Message

Seconds = Annotated[float, Field(ge=0)]


class HostEstimate(Message):
    """One host's part."""

    host: str
    accounts: Count
    requests: Count
    requests_per_second: Annotated[float, Field(gt=0)]
    budget: Literal["advertised", "learnt", "document"]
    """Where that figure is from: what the host advertises, what was learnt from its refusals, or, as nothing
    is known of the host, the document's own limit."""
    seconds: Seconds
    """What it takes to ask for all of them at that pace."""


class Estimate(Message):
    """A job that was not started. Absent figures are not known."""

    accounts: Count
    """Accounts that the source names, each once as it is written there."""
    accounts_are: Literal["counted", "listed", "at_least"]
    """`counted` one by one; `listed`: as many as the relay says that each host has; `at_least` so many, since
    the source was not read to its end in the time of a dry run."""
    duplicates: Count = 0
    left_out: dict[str, int] = Field(default_factory=dict)
    """What the source holds beside accounts, by reason, as far as it was read."""
    resolved: Count = 0
    """Accounts whose hosts are known: from the source, from the mirror, or by asking for a sample."""
    unresolvable: Count = 0
    """Accounts of the sample that have no host, or could not be resolved."""
    requests: Count | None = None
    """Requests to hosts."""
    bytes: Count | None = None
    """Bytes that hosts send."""
    records: Count | None = None
    """Records in these repositories; a job that selects some publishes fewer."""
    seconds: Seconds | None = None
    """From the first request to the last with one worker; the slowest host mostly decides."""
    hosts: list[HostEstimate] = Field(default_factory=list)
    """The hosts that take longest, longest first."""
    hosts_found: Count = 0
    """How many hosts there are, as far as is known."""
    notes: list[str] = Field(default_factory=list)
    """What one should know beside the figures."""
