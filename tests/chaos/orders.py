"""How a campaign and its victims talk: orders as files that one process can take, notes as lines of a file.

A victim may die right after any of these calls, so each of them is whole or has not happened.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from tests.chaos.plan import Point, Strike


class Order(BaseModel):
    """What a victim has to know of a strike."""

    model_config = ConfigDict(frozen=True)

    strike: int
    what: str
    point: Point
    delay: float
    in_flight: bool


class Note(BaseModel):
    """What a victim tells."""

    note: str
    """`struck`; of a stop later `woke` and `decided`; `works`: the first commit after an assignment."""
    name: str
    address: str
    pid: int
    at: float
    """Epoch seconds."""
    strike: int = 0
    open: dict[str, int] = {}
    """Of `struck`: what lay open, by what it is."""
    member: str = ""
    """Of `struck`: the victim's id in its group."""
    seconds: float = 0.0
    """Of `woke`: how long it stood still. Of `works`: how old the assignment is."""
    how: str = ""
    """Of `decided`: what the broker made of the commit."""


class Orders:
    """The folder of both. Any number of processes may use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes = folder / "notes.jsonl"
        self._read = 0

    def give(self, strike: Strike) -> None:
        """Makes the order known to whoever has its address."""
        order = Order(
            strike=strike.number,
            what=strike.what,
            point=strike.point,
            delay=strike.delay,
            in_flight=strike.in_flight,
        )
        draft = self._folder / f"{strike.address}.draft"
        draft.write_text(order.model_dump_json())
        draft.replace(self._place(strike.address))

    def withdraw(self, strike: Strike) -> bool:
        """Takes the order back; False if it was taken before, so that the strike is under way."""
        return self._take(strike.address, f"withdrawn-{strike.number}")

    def take(self, address: str, point: Point, name: str) -> Order | None:
        """The order for this address and point, if there is one and no other process has taken it."""
        try:
            order = Order.model_validate_json(self._place(address).read_bytes())
        except FileNotFoundError:
            return None
        if order.point != point or not self._take(address, f"taken-{order.strike}-{name}"):
            return None
        return order

    def note(self, note: Note) -> None:
        """Adds a line, whole and on the disk."""
        with self._notes.open("ab", buffering=0) as file:
            file.write(note.model_dump_json(exclude_defaults=True).encode() + b"\n")
            os.fsync(file.fileno())

    def new_notes(self) -> Iterator[Note]:
        """The lines since the last call."""
        if not self._notes.exists():
            return
        with self._notes.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                yield Note.model_validate(orjson.loads(line))

    def _place(self, address: str) -> Path:
        return self._folder / f"{address}.json"

    def _take(self, address: str, name: str) -> bool:
        try:
            self._place(address).rename(self._folder / name)
        except FileNotFoundError:
            return False
        return True


def noted(note: str, name: str, address: str, **details: Any) -> Note:
    """A note of this process, now."""
    return Note(note=note, name=name, address=address, pid=os.getpid(), at=time.time(), **details)
