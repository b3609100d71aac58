"""What a campaign does to whom, drawn from its seed alone: the same seed gives the same plan.

Kills are dealt evenly over the points at which work is open; each stop outlasts its victim's session.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, TypeVar

T = TypeVar("T")
Kind = Literal["worker", "tracker", "producer", "sink-parquet", "sink-dynamodb"]
LANES: Sequence[Kind] = ("worker", "tracker", "producer", "sink-parquet", "sink-dynamodb")
SPARED: frozenset[Kind] = frozenset({"producer", "sink-parquet", "sink-dynamodb"})
"""Kinds of which two processes run, so that somebody can take over from one that stands still."""
DELAYS = (0.0, 0.2, 1.0, 2.0, 5.0)
"""Seconds between SIGCONT and the commit that follows."""


class Point(StrEnum):
    """Where a process may be struck. At each of them it has work open."""

    BEFORE_PRODUCE = "before produce"
    BEFORE_OFFSETS = "between produce and offsets"
    DURING_COMMIT = "during commit"
    AFTER_COMMIT = "after commit"
    BEFORE_PUBLICATION = "before a file's publication"
    AFTER_PUBLICATION = "after publication, before commit"
    BETWEEN_BATCHES = "between DynamoDB batches"
    AFTER_BLOCK = "after a DynamoDB block, before commit"
    BEFORE_CHECKPOINT = "between tasks and checkpoint"
    AT_COMMIT = "at the entry of a commit"
    """The only one that is for stops."""


VICTIMS: dict[Point, Sequence[Kind]] = {
    Point.BEFORE_PRODUCE: ("worker", "tracker", "producer"),
    Point.BEFORE_OFFSETS: ("worker", "tracker"),
    Point.DURING_COMMIT: ("worker", "tracker", "producer"),
    Point.AFTER_COMMIT: ("worker", "tracker", "producer"),
    Point.BEFORE_PUBLICATION: ("sink-parquet",),
    Point.AFTER_PUBLICATION: ("sink-parquet",),
    Point.BETWEEN_BATCHES: ("sink-dynamodb",),
    Point.AFTER_BLOCK: ("sink-dynamodb",),
    Point.BEFORE_CHECKPOINT: ("producer",),
}
"""Who passes each point at which processes are killed."""
STOPPED: Sequence[Kind] = ("worker", "producer", "sink-parquet", "sink-dynamodb")


@dataclass(frozen=True)
class Strike:
    """One kill or stop."""

    number: int
    what: Literal["kill", "stop"]
    point: Point
    kind: Kind
    address: str
    """Whose order it is: a process's name, or the kind where whoever has the work shall be struck."""
    delay: float = 0.0
    """Of a stop: seconds from SIGCONT to the commit."""
    in_flight: bool = False
    """Of a kill during a commit: while the call is under way, instead of right before it."""
    hasty: bool = False
    """The next strike of this lane does not wait until this victim is at work again."""


@dataclass(frozen=True)
class Plan:
    """Everything that will happen. Lanes go on beside each other, the strikes of one by turns."""

    seed: int
    workers: int
    lanes: dict[Kind, list[Strike]]
    broker_restart_after: int
    """The broker is killed once so many strikes are done."""

    @property
    def strikes(self) -> list[Strike]:
        """All, by number."""
        return sorted((s for lane in self.lanes.values() for s in lane), key=lambda s: s.number)


def draw(seed: int, *, workers: int, kills_per_point: int, delays: Sequence[float] = DELAYS) -> Plan:
    """The plan of a seed: so many kills at each point, and for each kind a stop with each delay."""
    chance = random.Random(f"chaos {seed}")
    numbers = _dealt(chance, range(workers))
    drawn: list[Strike] = []
    for point, kinds in VICTIMS.items():
        victims = _dealt(chance, kinds)
        for _ in range(kills_per_point):
            kind = next(victims)
            in_flight = point is Point.DURING_COMMIT and chance.random() < 0.5
            drawn.append(Strike(0, "kill", point, kind, _address(kind, numbers), in_flight=in_flight))
    for kind in STOPPED:
        for delay in delays:
            drawn.append(Strike(0, "stop", Point.AT_COMMIT, kind, _address(kind, numbers), delay))
    chance.shuffle(drawn)
    drawn = [
        replace(strike, number=number, hasty=chance.random() < 0.25) for number, strike in enumerate(drawn, 1)
    ]
    lanes = {kind: [strike for strike in drawn if strike.kind == kind] for kind in LANES}
    return Plan(seed, workers, lanes, len(drawn) // 2)


def drawn_anew(strike: Strike, plan: Plan, attempt: int) -> Strike:
    """Another victim of the same kind for a strike that was not reached; only workers are told apart."""
    chance = random.Random(f"chaos {plan.seed} {strike.number} {attempt}")
    others = [n for n in range(plan.workers) if f"worker-{n}" != strike.address] or [0]
    return replace(strike, address=_address(strike.kind, iter([chance.choice(others)])))


def _address(kind: Kind, numbers: Iterator[int]) -> str:
    if kind == "worker":
        return f"worker-{next(numbers)}"
    return kind if kind in SPARED else f"{kind}-0"


def _dealt(chance: random.Random, deck: Sequence[T]) -> Iterator[T]:
    """Endlessly, each card once before any comes again."""
    while True:
        yield from chance.sample(list(deck), len(deck))
