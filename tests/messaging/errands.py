"""What the workers of these tests have to do, and what comes of it when it is done exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from schemas.message import Message
from schemas.settings import KafkaSettings

COPIES = 2
"""Messages that one errand publishes: they become visible together."""


class Errand(Message):
    """A task. One with two rounds goes through the retry topic once."""

    number: int
    round: int = 1
    rounds: int = 1

    @property
    def results(self) -> list[bytes]:
        """What is published when this round is done."""
        return [f"{self.number}.{self.round}.{copy}".encode() for copy in range(COPIES)]

    @property
    def next_round(self) -> Errand | None:
        if self.round == self.rounds:
            return None
        return self.model_copy(update={"round": self.round + 1})


class Orders(Message):
    """How a worker is to behave."""

    kafka: KafkaSettings
    slot: int
    seed: int = 0
    delay: float = 0.2
    """Seconds that an errand takes: mostly less, some up to five times as much."""
    commit_every: float = 0.1
    poll_pause: float = 0.0
    """Seconds in which nobody polls after errands came, so that a lost membership is noticed late."""
    read_back_patience: float = 15.0
    """Seconds that one question for the committed offsets may take."""
    stops_before_end: bool = False
    """The process stops itself when its first transaction with offsets is about to end."""


def all_results(errands: Iterable[Errand]) -> Counter[str]:
    """Every result of every round, once."""
    found = Counter[str]()
    for errand in errands:
        step: Errand | None = errand
        while step is not None:
            found.update(result.decode() for result in step.results)
            step = step.next_round
    return found
