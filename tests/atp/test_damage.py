"""Whatever happens to a repository on its way, out come the same records or a RepoError.

Never other records, never a broken one where all were fine, never an error without a name.
"""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from atp import repo
from schemas.errors import RepoError
from tests.atp.builder import DID, NOW, Cid, Signer, car, cid_of, sound

BUILDER, COMMIT, RECORDS = sound(24)
FILE = BUILDER.car(COMMIT)
BLOCKS = list(BUILDER.blocks.items())
KEY = Signer().did_key
EXPECTED = list(repo.read(FILE, DID, KEY, now=NOW).records())


def same_or_refused(file: bytes) -> bool:
    """Tell whether a file reads as the repository; every other outcome but a RepoError fails the test."""
    try:
        found = repo.read(file, DID, KEY, now=NOW)
    except RepoError:
        return False
    assert list(found.records()) == EXPECTED
    return True


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
@settings(max_examples=400)
def test_one_byte_changed(place: int, change: int) -> None:
    damaged = bytearray(FILE)
    damaged[place] ^= change
    assert not same_or_refused(bytes(damaged))


def test_every_byte_changed_once() -> None:
    """Each byte of the first and last blocks, header and lengths included: none goes unnoticed."""
    for place in [*range(400), *range(len(FILE) - 400, len(FILE))]:
        damaged = bytearray(FILE)
        damaged[place] ^= 1 << place % 8
        assert not same_or_refused(bytes(damaged))


@given(st.integers(0, len(FILE) - 1))
def test_cut_short(length: int) -> None:
    assert not same_or_refused(FILE[:length])


@given(st.permutations(BLOCKS))
def test_another_order(blocks: list[tuple[Cid, bytes]]) -> None:
    assert same_or_refused(car([COMMIT], blocks))


@given(st.sets(st.sampled_from(BLOCKS), min_size=1))
def test_blocks_left_out(absent: set[tuple[Cid, bytes]]) -> None:
    assert not same_or_refused(car([COMMIT], [block for block in BLOCKS if block not in absent]))


@given(st.lists(st.sampled_from(BLOCKS)), st.lists(st.binary()), st.randoms(use_true_random=False))
def test_blocks_repeated_and_others_added(
    repeated: list[tuple[Cid, bytes]], extras: list[bytes], order: random.Random
) -> None:
    blocks = [*BLOCKS, *repeated, *((cid_of(extra), extra) for extra in extras)]
    order.shuffle(blocks)
    assert same_or_refused(car([COMMIT], blocks))


@given(st.sampled_from(BLOCKS), st.sampled_from(BLOCKS))
def test_blocks_under_each_others_names(one: tuple[Cid, bytes], other: tuple[Cid, bytes]) -> None:
    swapped = {one[0]: other[1], other[0]: one[1]}
    file = car([COMMIT], [(cid, swapped.get(cid, block)) for cid, block in BLOCKS])
    assert same_or_refused(file) == (one == other)


@given(st.sampled_from(BLOCKS), st.data())
def test_a_block_changed_together_with_its_name(target: tuple[Cid, bytes], data: st.DataObject) -> None:
    """The attacker's own hash does not help: nobody refers to it, and the right block is missing."""
    changed = bytearray(target[1])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    block = (cid_of(bytes(changed)), bytes(changed))
    root = block[0] if target[0] == COMMIT else COMMIT
    assert not same_or_refused(car([root], [block if b == target else b for b in BLOCKS]))


@given(st.sampled_from([cid for cid, _ in BLOCKS if cid != COMMIT]))
def test_another_root(root: Cid) -> None:
    assert not same_or_refused(car([root], BLOCKS))


@given(st.binary(max_size=300))
def test_anything_at_all(file: bytes) -> None:
    assert not same_or_refused(file)


@given(st.integers(0, len(FILE)), st.binary(min_size=1, max_size=60))
def test_bytes_inserted(place: int, inserted: bytes) -> None:
    same_or_refused(FILE[:place] + inserted + FILE[place:])
