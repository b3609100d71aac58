"""CAR files: framing, and a hash for every block, whoever refers to it."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import pytest

from atp.car import Buffer, Car
from schemas.errors import (
    BlockMismatch,
    BlockMissing,
    CarError,
    CarHeaderInvalid,
    CarLengthInvalid,
    CarTruncated,
    CidUnsupported,
)
from tests.atp.builder import Cid, Raw, Unsorted, car, cbor, cid_of, varint

BLOCKS = [(cid_of(block), block) for block in (b"\xa0", b"\x01" * 200, b"", b"\x02" * 20_000)]
ROOT = BLOCKS[0][0]
FILE = car([ROOT], BLOCKS)


def test_every_block_is_found_by_its_cid() -> None:
    opened = Car(FILE)
    assert opened.root == ROOT
    assert opened.size == len(FILE)
    assert len(opened) == len(BLOCKS)
    for cid, block in BLOCKS:
        number = opened.number(cid)
        assert number is not None
        assert (opened.cid(number), opened.data(number), opened.block(cid)) == (cid, block, block)


def test_a_block_that_is_not_there_has_a_name() -> None:
    absent = cid_of(b"absent")
    assert Car(FILE).number(absent) is None
    with pytest.raises(BlockMissing, match=absent.text()):
        Car(FILE).block(absent)


def test_order_duplicates_and_extras_do_not_matter() -> None:
    extra = b"an extra block"
    blocks = [*reversed(BLOCKS), (cid_of(extra, 0x55), extra), *BLOCKS]
    opened = Car(car([ROOT, cid_of(extra)], blocks))
    assert opened.root == ROOT
    assert len(opened) == len(BLOCKS) + 1
    assert all(opened.block(cid) == block for cid, block in BLOCKS)


def test_a_file_is_read_in_place_and_may_be_closed_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "repo.car"
    path.write_bytes(FILE)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    opened = Car(mapped)
    assert all(opened.block(cid) == block for cid, block in BLOCKS)
    mapped.close()  # would raise BufferError if anything still pointed into it


@pytest.mark.parametrize("buffer", [FILE, memoryview(FILE), memoryview(bytearray(FILE))])
def test_blocks_are_bytes_whatever_the_buffer(buffer: Buffer) -> None:
    opened = Car(buffer)
    assert [type(opened.cid(0)), type(opened.data(0))] == [bytes, bytes]


@pytest.mark.parametrize("extra", [False, True])
def test_a_block_whose_hash_is_another_is_refused_even_if_nobody_refers_to_it(extra: bool) -> None:
    wrong = (cid_of(b"this"), b"that")
    with pytest.raises(BlockMismatch, match=wrong[0].text()):
        Car(car([ROOT if extra else wrong[0]], [*BLOCKS, wrong]))


def test_a_second_copy_of_a_block_is_hashed_too() -> None:
    with pytest.raises(BlockMismatch):
        Car(car([ROOT], [*BLOCKS, (BLOCKS[1][0], b"\x01" * 199 + b"\x02")]))


@pytest.mark.parametrize("length", [*range(1, 70), len(FILE) - 20_001, len(FILE) - 1])
def test_a_file_cut_short_says_so(length: int) -> None:
    whole_sections = {len(car([ROOT], BLOCKS[:count])) for count in range(len(BLOCKS))}
    if length in whole_sections:  # nothing in a CAR says how many blocks there are; the tree does
        assert len(Car(FILE[:length])) < len(BLOCKS)
    else:
        with pytest.raises(CarTruncated):
            Car(FILE[:length])


@pytest.mark.parametrize("length", [36, 37, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152])
def test_sections_of_every_size(length: int) -> None:
    block = bytes(length - 36)
    assert Car(car([ROOT], [(cid_of(block), block), *BLOCKS])).block(cid_of(block)) == block


def test_an_empty_file_is_cut_short() -> None:
    with pytest.raises(CarTruncated):
        Car(b"")


@pytest.mark.parametrize(
    "header",
    [
        "text",
        {"version": 1},
        {"roots": [ROOT]},
        {"version": 1, "roots": [ROOT], "more": 1},
        {"version": 2, "roots": [ROOT]},
        {"version": True, "roots": [ROOT]},
        {"version": Raw(b"\xfb\x3f\xf0" + bytes(6)), "roots": [ROOT]},
        {"version": 1, "roots": []},
        {"version": 1, "roots": ROOT},
        {"version": 1, "roots": [ROOT, "text"]},
        {"version": 1, "roots": [bytes(ROOT)]},
        Unsorted(version=1, roots=[ROOT]),
        Raw(cbor({"version": 1, "roots": [ROOT]}) + b"\x00"),
    ],
)
def test_only_the_exact_header_is_a_header(header: Any) -> None:
    with pytest.raises(CarHeaderInvalid):
        Car(car([], BLOCKS, header=cbor(header)))


def test_a_header_has_a_largest_size() -> None:
    with pytest.raises(CarHeaderInvalid, match="bytes"):
        Car(car([ROOT] * 2000, BLOCKS))


@pytest.mark.parametrize("prefix", ["01551220", "01701220", "12200000", "02711220", "01711221", "01711120"])
def test_a_root_is_dag_cbor_with_sha256(prefix: str) -> None:
    with pytest.raises(CidUnsupported):
        Car(car([Cid(bytes.fromhex(prefix) + ROOT[4:])], BLOCKS))


@pytest.mark.parametrize("root", [Cid(b""), Cid(ROOT[:-1]), Cid(ROOT + b"\x00")])
def test_a_root_has_36_bytes(root: Cid) -> None:
    with pytest.raises(CidUnsupported):
        Car(car([root], BLOCKS))


@pytest.mark.parametrize("prefix", ["01701220", "12200000", "02711220", "01711221", "01711b20"])
def test_a_block_of_another_kind_of_cid_is_refused(prefix: str) -> None:
    with pytest.raises(CidUnsupported):
        Car(car([ROOT], [*BLOCKS, (Cid(bytes.fromhex(prefix) + ROOT[4:]), b"\xa0")]))


@pytest.mark.parametrize("length", range(36))
def test_a_section_without_room_for_a_cid_is_refused(length: int) -> None:
    following = ROOT + bytes(100)
    with pytest.raises(CidUnsupported):
        Car(FILE + varint(length) + following)


@pytest.mark.parametrize("length", [b"\xa5\x00", b"\xa5\x80\x00", b"\x80\x00"])
def test_a_length_is_minimal(length: bytes) -> None:
    with pytest.raises(CarLengthInvalid, match="minimal"):
        Car(FILE + length + ROOT + b"\xa0")


@pytest.mark.parametrize("length", [b"\x80" * 9 + b"\x01", b"\xff" * 9, b"\xff" * 1000])
def test_a_length_has_at_most_nine_bytes(length: bytes) -> None:
    with pytest.raises(CarLengthInvalid, match="more than 9"):
        Car(FILE + length)


@pytest.mark.parametrize("length", [2**32, 2**62])
def test_a_huge_length_is_just_a_file_cut_short(length: int) -> None:
    with pytest.raises(CarTruncated):
        Car(FILE + varint(length) + ROOT + b"\xa0")
    with pytest.raises(CarError):
        Car(varint(length) + FILE)
