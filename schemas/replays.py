"""Topic `replays`: dead letters that were replayed, keyed by their ids, compacted.

A letter that stands here is not replayed again, whoever asks, and whatever the planner has forgotten.
"""

from __future__ import annotations

from schemas.message import Count, Instant, Message
from schemas.outcomes import Replaced


class Lot(Message):
    """All accounts of a job that ended failed, for one reason, at a host that was given up."""

    host: str
    reason: str
    cursor: Count
    """Offset in the job's partition of `outcomes`: what failed before it is dealt with."""
    until: Count
    """What failed from this offset on belongs to a later replay."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to be gathered."""
        return self.cursor >= self.until


class Replay(Message):
    """One dead letter's replay. Written in the transaction that publishes what follows from it."""

    letter: str
    """The dead letter, as `partition:offset`."""
    job_id: str
    did: str | None = None
    """The account as the letter names it; absent for a host's."""
    number: Count = 1
    """The replay number of its task; of a host's letter, how often that was replayed."""
    asked_at: Instant
    command: Count
    """Offset in `jobs` of the command that asked for it."""
    accounts: Count = 0
    """Accounts that are tried again so far."""
    entry: Replaced | None = None
    """Still to be resolved: the account has no task yet."""
    lot: Lot | None = None
    """Of a host's letter."""

    @property
    def pending(self) -> bool:
        """Whether the planner still has something to do for it."""
        return self.entry is not None or (self.lot is not None and not self.lot.finished)
