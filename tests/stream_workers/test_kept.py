"""Downloads that are kept for a while: found once, bounded, and no memory left behind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from schemas.dids import DidTask
from stream_workers.fetch.budget import ByteBudget, Spool
from stream_workers.fetch.kept import KeptDownloads


class Shelf:
    """The kept downloads, and what they are made of."""

    def __init__(self, folder: Path, **bounds: float) -> None:
        self.now = 100.0
        self.budget = ByteBudget(10_000)
        self.told = Counter[str]()
        self._folder = folder
        given = {"most_bytes": 1000, "most": 3, "seconds": 60.0} | bounds
        self.kept = KeptDownloads(
            int(given["most_bytes"]),
            most=int(given["most"]),
            seconds=given["seconds"],
            clock=lambda: self.now,
            told=lambda result: self.told.update([result]),
        )

    def keep(self, number: int, size: int = 10, *, threshold: int = 10_000) -> None:
        spool = Spool(self.budget, threshold, self._folder)
        spool.write(bytes([number]) * size)
        self.kept.keep(task(number), spool)

    def take(self, number: int) -> bytes | None:
        spool = self.kept.take(task(number))
        if spool is None:
            return None
        with spool:
            return bytes(spool.content())


def task(number: int, pds: str = "https://pds.example") -> DidTask:
    return DidTask(job_id="job", did=f"did:plc:{number}", pds=pds, signing_key="")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_what_is_kept_is_found_once(shelf: Shelf) -> None:
    shelf.keep(1)
    shelf.keep(2)
    assert shelf.kept.take(task(1, "https://elsewhere.example")) is None
    assert shelf.take(1) == b"\1" * 10
    assert shelf.take(1) is None
    assert shelf.take(3) is None
    assert shelf.budget.used == 10
    shelf.kept.close()
    assert shelf.budget.used == 0
    assert shelf.told == {"used": 1, "dropped": 1}


def test_a_newer_one_takes_the_place_of_the_same_account(shelf: Shelf) -> None:
    shelf.keep(1, 10)
    shelf.keep(1, 20)
    assert shelf.budget.used == 20
    assert shelf.take(1) == b"\1" * 20


def test_it_is_not_kept_for_long(shelf: Shelf) -> None:
    shelf.keep(1)
    shelf.now += 30
    shelf.keep(2)
    shelf.now += 31
    assert shelf.take(1) is None
    assert shelf.budget.used == 10
    assert shelf.take(2) is not None


def test_there_are_never_too_many_or_too_large_ones(shelf: Shelf) -> None:
    for number in range(5):
        shelf.keep(number)
    assert [shelf.take(number) is not None for number in range(5)] == [False, False, True, True, True]
    shelf.keep(1, 600)
    shelf.keep(2, 600)
    assert shelf.budget.used == 600
    assert shelf.take(1) is None
    shelf.keep(3, 1001)
    shelf.keep(4, 500, threshold=100)  # went to disk
    assert shelf.budget.used == 600
    assert shelf.take(3) is shelf.take(4) is None
    assert shelf.take(2) is not None
