"""A table of numbers by CID: what a dictionary would answer, whatever the hashes are."""

from __future__ import annotations

import hashlib

import pytest

from atp import car
from atp.cid_table import CidTable
from tests.atp.builder import Cid, cid_of
from tests.atp.builder import car as car_file


class Crowded(bytes):
    """A CID whose hash many others share."""

    def __hash__(self) -> int:
        return self[-1] % 3


@pytest.mark.parametrize("kind", [bytes, Crowded])
@pytest.mark.parametrize("count", [1, 7, 300])
def test_numbers_are_found_and_strangers_are_not(kind: type[bytes], count: int) -> None:
    cids = [kind(hashlib.sha256(b"%d" % number).digest()) for number in range(count)]
    begun = count // 2
    table = CidTable(cids.__getitem__, cids[:begun])
    for number, cid in enumerate(cids[begun:], begun):
        assert table.get(cid) is None
        table[cid] = number
        assert len(table) == number + 1
    assert [table.get(cid) for cid in cids] == list(range(count))
    strangers = [kind(hashlib.sha256(b"x%d" % number).digest()) for number in range(count)]
    assert not any(cid in table for cid in strangers)


@pytest.mark.parametrize("many", [1, 2, 5, 100])
def test_a_car_of_many_blocks_is_read_like_one_of_few(monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    blocks = [(cid_of(block), block) for block in (b"%d" % number for number in range(20))]
    file = car_file([blocks[3][0]], [*blocks, *blocks[::-1]])
    few = car.Car(file)
    monkeypatch.setattr(car, "_MANY", many)
    found = car.Car(file)
    assert len(found) == len(few) == 20
    assert [found.number(cid) for cid, _ in blocks] == [few.number(cid) for cid, _ in blocks]
    assert [found.block(cid) for cid, _ in blocks] == [block for _, block in blocks]
    assert found.number(Cid(cid_of(b"absent"))) is None
