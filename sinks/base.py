"""The contract between the consume loop and a store. A new sink is one subclass and one test class.

What may never break: a row leaves `unstored` only when the store would survive a power cut with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

from messaging.names import SinkKind
from schemas.backfill import Backfill
from sinks.rows import Row


class Sink(ABC):
    """Stores rows in destinations, each row exactly once however often it is handed over.

    **Destination.** A folder, a table: a function of the row's job's immutable `storage` and of nothing
    else, never of the clock or of this process. Two spellings of one place are one destination. A row goes
    to every destination that its job names, and each destination is filled at its own pace.

    **add** takes one row of a partition for one destination, in the order of offsets, and buffers it; it
    may also store at once. The loop has judged already that the row is a committed record event of a known
    job. A row that this store can never take raises RowRefused: it becomes a dead letter and the rest goes
    on. Everything else that goes wrong is a SinkError (what the user has to do) or a FencedError (this
    process has to end); after either, no further call is made and nothing more is committed.

    **flush** returns when all rows of these partitions are stored: durable, and visible to readers as they
    ever will be. `flush_due` does so for what is due by its rows, bytes or age, and keeps all that is
    buffered within the configured bound. Both may take long; the loop does not poll Kafka meanwhile.

    **unstored** tells, for each destination with rows not stored yet, the first of their offsets. The loop
    commits the least of them over the destinations, or the read position when there is none, and notes
    beside it how far each destination is; it hands a destination none of the rows noted as stored.

    **Delivered again.** After a crash the rows from the committed offset on come again, and some of them
    may be stored already, or are just being stored by an owner that was thought dead. Neither may store
    them twice, and a row once stored is never replaced by an older one: a sink relies on what its storage
    itself refuses (a name that exists, a condition), not on what this process remembers.

    **forget** drops what is known of partitions that are given away: buffered rows, and everything learnt
    about their destinations, which another owner may be changing from now on.
    """

    kind: SinkKind

    @abstractmethod
    def destinations(self, backfill: Backfill) -> tuple[str, ...]:
        """The destinations of this kind that a job names, without repetition."""

    @abstractmethod
    def add(self, destination: str, row: Row) -> None:
        """Takes a row. Raises RowRefused, SinkError, FencedError."""

    @abstractmethod
    def flush_due(self) -> None:
        """Stores what is due. Raises SinkError, FencedError."""

    @abstractmethod
    def flush(self, partitions: Collection[int]) -> None:
        """Stores all that is buffered of these partitions. Raises SinkError, FencedError."""

    @abstractmethod
    def unstored(self, partition: int) -> Mapping[str, int]:
        """Destination -> first offset taken and not stored, for destinations that have one."""

    @abstractmethod
    def forget(self, partitions: Collection[int]) -> None:
        """Drops all that is known of these partitions."""

    @abstractmethod
    def close(self) -> None:
        """Releases connections and threads; nothing more will be asked."""
