"""The tree of records: what one implementation builds, the other reads, key for key."""

from __future__ import annotations

from typing import Any

import pytest
from arroba.mst import MST
from arroba.storage import MemoryStorage
from hypothesis import given, settings
from hypothesis import strategies as st
from multiformats import CID

from atp import mst
from tests.atp.builder import Builder, Cid, keys_of_layer
from tests.atp.vectors import INTEROP, cases

LOW = keys_of_layer(0, 12)  # keys of the lowest layer, in order


def walk(builder: Builder, root: Cid) -> mst.Tree:
    return mst.walk(root, lambda cid: builder.blocks[Cid(cid)])


# The vectors


@pytest.mark.parametrize("case", cases("mst/key_heights.json"), ids=lambda case: case["key"])
def test_layer_vectors(case: dict[str, Any]) -> None:
    assert mst.layer_of(case["key"].encode()) == case["height"]


@pytest.mark.parametrize("case", cases("mst/common_prefix.json"), ids=str)
def test_common_prefix_vectors(case: dict[str, Any]) -> None:
    left, right = case["left"].encode(), case["right"].encode()
    assert [n for n in range(10) if mst.is_common_prefix(left, right, n)] == [case["len"]]


def test_the_example_keys_lie_in_layers_of_their_number() -> None:
    keys = (INTEROP / "mst" / "example_keys.txt").read_text().split()
    assert {mst.layer_of(key.encode()) == int(key[1]) for key in keys} == {True}


def test_the_tree_of_the_example_keys() -> None:
    keys = (INTEROP / "mst" / "example_keys.txt").read_text().split()
    builder = Builder()
    records = {key: builder.record(key) for key in keys}
    tree = walk(builder, builder.tree(records))
    assert dict(zip(tree.keys, tree.records, strict=True)) == records
    assert tree.keys == sorted(keys)


# Right trees


def test_an_empty_repository_has_one_empty_node() -> None:
    builder = Builder()
    assert walk(builder, builder.node(None)) == mst.Tree([], [])


KEYS = st.sets(st.from_regex(r"[a-z]{1,3}/[a-zA-Z0-9_~:.-]{1,8}", fullmatch=True), max_size=60)


@settings(max_examples=60)
@given(KEYS)
def test_any_set_of_keys_makes_a_tree_that_gives_them_back(keys: set[str]) -> None:
    builder = Builder()
    records = {key: builder.record(key) for key in keys}
    tree = walk(builder, builder.tree(records))
    assert tree.keys == sorted(keys)
    assert [records[key] for key in tree.keys] == tree.records


@settings(max_examples=25)
@given(st.sets(st.integers(0, 10_000), min_size=1, max_size=40))
def test_another_implementation_makes_the_same_tree(numbers: set[int]) -> None:
    keys = [f"app.bsky.feed.post/{number:013}" for number in numbers]
    builder = Builder()
    record = builder.record()
    ours = builder.tree(dict.fromkeys(keys, record))
    theirs = MST.create(storage=MemoryStorage())
    for key in keys:
        theirs = theirs.add(key, CID.decode(bytes(record)))
    assert bytes(theirs.get_pointer()) == ours
    assert walk(builder, ours).keys == sorted(keys)


def test_one_record_may_stand_under_two_keys() -> None:
    builder = Builder()
    record = builder.record()
    assert walk(builder, builder.tree(dict.fromkeys(LOW, record))).records == [record] * len(LOW)


def test_a_node_that_only_points_on_is_right_below_the_root() -> None:
    builder = Builder()
    record = builder.record()
    high = keys_of_layer(3, 1)[0]
    low = [key for key in LOW if key < high]
    assert low
    records = {high: record, **dict.fromkeys(low, record)}
    root = builder.tree(records)
    assert sum(block.startswith(b"\xa2\x61e\x80") for block in builder.blocks.values()) == 2
    assert walk(builder, root).keys == [*low, high]


def test_the_longest_key() -> None:
    builder = Builder()
    key = "a/" + "b" * 1022
    assert walk(builder, builder.tree({key: builder.record()})).keys == [key]
