"""What came of a plan: each strike that was carried out, and the broker's restart, as they are reported."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.orders import Note
from tests.chaos.plan import Strike


@dataclass
class Carried:
    """A strike that was carried out. Times are epoch seconds."""

    strike: Strike
    struck: Note
    draws: list[str]
    """Victims that did not reach the point, before this one did."""
    stood_still: float = 0.0
    """Of a stop: seconds."""
    decided: str = ""
    """Of a stop: what became of the commit."""
    works: Note | None = None
    """The first commit of whoever took the victim's place."""

    @property
    def what_was_open(self) -> str:
        """In words."""
        return ", ".join(f"{number:,} {what}" for what, number in self.struck.open.items() if number)

    @property
    def back_after(self) -> float | None:
        """Seconds from the strike until its place was at work again; None: not seen."""
        return None if self.works is None else self.works.at - self.struck.at


@dataclass
class Restart:
    """The broker's."""

    after: int
    """Strikes done by then."""
    outstanding: int
    """Accounts planned and not done with, when it was killed."""
    behind: int
    """Records that lay in Kafka and in no store yet."""
    seconds: float
