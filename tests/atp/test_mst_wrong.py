"""Wrong trees, each built on purpose: every one meets the error with its own name, and no other.

A tree is wrong in one way only, so that each check of the reader has a test that fails without it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from atp import mst
from schemas.errors import (
    BlockMissing,
    MstCycle,
    MstDepthInvalid,
    MstError,
    MstKeyInvalid,
    MstKeyOrder,
    MstKeyOutOfBounds,
    MstNodeEmpty,
    MstNodeMalformed,
    MstPrefixInvalid,
    MstRecordIsNode,
)
from tests.atp.builder import Builder, Cid, Raw, Unsorted, cbor, cid_of, entries_of, keys_of_layer, layer_of

LOW = keys_of_layer(0, 12)  # keys of the lowest layer, in order
MIDDLE = keys_of_layer(1, 8)
HIGH = keys_of_layer(2, 4)


def walk(builder: Builder, root: Cid) -> mst.Tree:
    def load(cid: bytes) -> bytes:
        try:
            return builder.blocks[Cid(cid)]
        except KeyError:
            raise BlockMissing(cid.hex()) from None

    return mst.walk(root, load)


Wrong = Callable[[Builder, Cid], Cid]
WRONG: list[tuple[type[MstError], str, Wrong]] = []


def wrong(error: type[MstError], reason: str = ".") -> Callable[[Wrong], Wrong]:
    def add(build: Wrong) -> Wrong:
        WRONG.append((error, reason, build))
        return build

    return add


def entry(key: str, record: Cid, **changed: Any) -> dict[str, Any]:
    return {"p": 0, "k": key.encode(), "v": record, "t": None, **changed}


@wrong(MstDepthInvalid)
def keys_of_two_layers_in_one_node(builder: Builder, record: Cid) -> Cid:
    keys = sorted([LOW[0], LOW[1], MIDDLE[0]])
    return builder.node(None, *((key, record, None) for key in keys))


@wrong(MstDepthInvalid)
def a_subtree_that_skips_a_layer(builder: Builder, record: Cid) -> Cid:
    low = builder.node(None, *((key, record, None) for key in LOW if key > HIGH[0]))
    return builder.node(None, (HIGH[0], record, low))


@wrong(MstDepthInvalid)
def a_subtree_of_the_same_layer(builder: Builder, record: Cid) -> Cid:
    right = builder.node(None, (MIDDLE[1], record, None))
    return builder.node(None, (MIDDLE[0], record, right))


@wrong(MstDepthInvalid)
def a_subtree_above_its_parent(builder: Builder, record: Cid) -> Cid:
    key = next(key for key in MIDDLE if key > LOW[0])
    return builder.node(None, (LOW[0], record, builder.node(None, (key, record, None))))


@wrong(MstDepthInvalid, "lowest")
def a_pointer_below_the_lowest_layer(builder: Builder, record: Cid) -> Cid:
    below = builder.node(None, (LOW[1], record, None))
    return builder.node(None, (LOW[0], record, below))


@wrong(MstDepthInvalid, "lowest")
def a_left_pointer_below_the_lowest_layer(builder: Builder, record: Cid) -> Cid:
    return builder.node(builder.node(None, (LOW[0], record, None)), (LOW[1], record, None))


@wrong(MstDepthInvalid, "lowest")
def a_pointer_through_an_empty_node_of_the_lowest_layer(builder: Builder, record: Cid) -> Cid:
    low = builder.node(None, *((key, record, None) for key in LOW if key < MIDDLE[-1]))
    return builder.node(builder.node(low), (MIDDLE[-1], record, None))


@wrong(MstKeyOrder)
def keys_out_of_order(builder: Builder, record: Cid) -> Cid:
    return builder.node(None, (LOW[1], record, None), (LOW[0], record, None))


@wrong(MstKeyOrder)
def a_key_twice(builder: Builder, record: Cid) -> Cid:
    return builder.node(None, (LOW[0], record, None), (LOW[0], record, None))


@wrong(MstKeyOrder)
def a_key_twice_and_uncompressed(builder: Builder, record: Cid) -> Cid:
    return builder.node(None, entry(LOW[0], record), entry(LOW[0], record))


@wrong(MstKeyOrder)
def a_key_that_the_one_before_begins_with(builder: Builder, record: Cid) -> Cid:
    return builder.node(None, (LOW[0], record, None), (LOW[0][:-1], record, None))


@wrong(MstPrefixInvalid, "shares more")
def a_prefix_too_short(builder: Builder, record: Cid) -> Cid:
    first, second = entries_of([(LOW[0], record, None), (LOW[1], record, None)])
    longer = {**second, "p": second["p"] - 1, "k": LOW[1].encode()[second["p"] - 1 :]}
    return builder.node(None, first, longer)


@wrong(MstPrefixInvalid, "shares more")
def no_prefix_at_all(builder: Builder, record: Cid) -> Cid:
    return builder.node(None, entry(LOW[0], record), entry(LOW[1], record))


@wrong(MstPrefixInvalid, "shares more")
def a_prefix_shorter_than_the_whole_key_before(builder: Builder, record: Cid) -> Cid:
    longer = next(key for n in range(1000) if layer_of(key := f"{LOW[0]}{n}") == 0)
    cut = len(LOW[0]) - 1
    return builder.node(None, entry(LOW[0], record), entry(longer[cut:], record, p=cut))


@wrong(MstPrefixInvalid, "after a key of")
def a_prefix_beyond_the_key_before(builder: Builder, record: Cid) -> Cid:
    return builder.node(None, entry(LOW[0], record), entry("x", record, p=len(LOW[0]) + 1))


@wrong(MstPrefixInvalid, "after a key of 0")
def a_prefix_of_the_first_key(builder: Builder, record: Cid) -> Cid:
    return builder.node(None, entry(LOW[0], record, p=1))


@wrong(MstPrefixInvalid, "after a key of 0")
def a_prefix_carried_over_from_the_parent(builder: Builder, record: Cid) -> Cid:
    parent, below = MIDDLE[0], next(key for key in LOW if key > MIDDLE[0])
    prefix = next(n for n, pair in enumerate(zip(parent, below, strict=True)) if pair[0] != pair[1])
    right = builder.node(None, entry(below[prefix:], record, p=prefix))
    return builder.node(None, (parent, record, right))


@wrong(MstNodeEmpty)
def an_empty_node_on_the_right(builder: Builder, record: Cid) -> Cid:
    return builder.node(None, (MIDDLE[0], record, builder.node(None)))


@wrong(MstNodeEmpty)
def an_empty_node_on_the_left(builder: Builder, record: Cid) -> Cid:
    return builder.node(builder.node(None), (MIDDLE[0], record, None))


@wrong(MstNodeEmpty)
def an_empty_node_below_one_that_only_points_on(builder: Builder, record: Cid) -> Cid:
    return builder.node(builder.node(builder.node(None)), (HIGH[0], record, None))


@wrong(MstNodeEmpty, "root")
def a_root_that_only_points_on(builder: Builder, record: Cid) -> Cid:
    return builder.node(builder.tree(dict.fromkeys(LOW, record)))


@wrong(MstKeyOutOfBounds, "stands before")
def a_left_subtree_with_a_key_after_the_first(builder: Builder, record: Cid) -> Cid:
    late = next(key for key in LOW if key > MIDDLE[0])
    return builder.node(builder.node(None, (late, record, None)), (MIDDLE[0], record, None))


@wrong(MstKeyOutOfBounds, "stands after")
def a_right_subtree_with_a_key_before_its_own(builder: Builder, record: Cid) -> Cid:
    early = next(key for key in LOW if key < MIDDLE[-1])
    return builder.node(None, (MIDDLE[-1], record, builder.node(None, (early, record, None))))


@wrong(MstKeyOutOfBounds, "stands before")
def a_right_subtree_with_a_key_after_the_next(builder: Builder, record: Cid) -> Cid:
    late = next(key for key in LOW if key > MIDDLE[1])
    right = builder.node(None, (late, record, None))
    return builder.node(None, (MIDDLE[0], record, right), (MIDDLE[1], record, None))


def _around(high: str) -> tuple[str, str, str]:
    """Keys of the two layers below one of layer 2: one before it, and two after, the first the higher."""
    early = next(key for key in LOW if key < high)
    middle = next(key for key in MIDDLE if key > high)
    return early, middle, high


@wrong(MstKeyOutOfBounds, "stands after")
def a_grandchild_before_its_grandparents_key(builder: Builder, record: Cid) -> Cid:
    early, middle, high = _around(HIGH[0])
    low = builder.node(None, (early, record, None))
    return builder.node(None, (high, record, builder.node(low, (middle, record, None))))


@wrong(MstKeyOutOfBounds, "stands before")
def a_grandchild_after_its_grandparents_next_key(builder: Builder, record: Cid) -> Cid:
    middle, late = MIDDLE[0], next(key for key in keys_of_layer(0, 200) if key > HIGH[0])
    assert middle < HIGH[0] < late
    inner = builder.node(None, (middle, record, builder.node(None, (late, record, None))))
    return builder.node(inner, (HIGH[0], record, None))


@wrong(MstKeyOutOfBounds, "stands before")
def a_key_beyond_the_bounds_of_a_node_that_only_points_on(builder: Builder, record: Cid) -> Cid:
    late = next(key for key in keys_of_layer(0, 200) if key > HIGH[0])
    inner = builder.node(builder.node(None, (late, record, None)))
    return builder.node(inner, (HIGH[0], record, None))


@wrong(MstCycle)
def one_node_in_two_places(builder: Builder, record: Cid) -> Cid:
    shared = builder.node(None, (next(key for key in LOW if key > MIDDLE[0]), record, None))
    return builder.node(None, (MIDDLE[0], record, shared), (MIDDLE[-1], record, shared))


@wrong(MstRecordIsNode, LOW[0])
def a_record_that_is_a_node_of_the_tree(builder: Builder, record: Cid) -> Cid:
    second = next(key for key in LOW if key > MIDDLE[1])
    right = builder.node(None, (second, record, None))
    left = builder.node(None, (LOW[0], right, None))
    assert LOW[0] < MIDDLE[1]
    return builder.node(left, (MIDDLE[1], record, right))


@pytest.mark.parametrize(
    ("error", "reason", "build"), WRONG, ids=[f"{build.__name__}-{e.__name__}" for e, _, build in WRONG]
)
def test_a_wrong_tree_is_refused_by_name(error: type[MstError], reason: str, build: Wrong) -> None:
    builder = Builder()
    root = build(builder, builder.record())
    with pytest.raises(error, match=reason) as raised:
        walk(builder, root)
    assert raised.type is error


RECORD = cid_of(b"a record")
BAD_KEYS = ["", "a", "a/", "/b", "a/b/c", "a//b", "a/b c", "a/b\n", "a/é", "a/b+c", "a/b%20"]


@pytest.mark.parametrize("key", [*BAD_KEYS, "a/" + "b" * 1023])
def test_a_key_is_collection_and_rkey(key: str) -> None:
    builder = Builder()
    with pytest.raises(MstKeyInvalid):
        walk(builder, builder.node(None, entry(key, RECORD)))


@pytest.mark.parametrize(
    "malformed",
    [
        "text",
        [],
        entry(LOW[0], RECORD, more=1),
        *({n: v for n, v in entry(LOW[0], RECORD).items() if n != name} for name in "pkvt"),
        entry(LOW[0], RECORD, p=-1),
        entry(LOW[0], RECORD, p=None),
        entry(LOW[0], RECORD, p=False),
        entry(LOW[0], RECORD, p=Raw(b"\xfb" + bytes(8))),
        entry(LOW[0], RECORD, p=Raw(b"\x18\x00")),
        entry(LOW[0], RECORD, k=LOW[0]),
        entry(LOW[0], RECORD, k=None),
        entry(LOW[0], RECORD, v=None),
        entry(LOW[0], RECORD, v=bytes(RECORD)),
        entry(LOW[0], RECORD, v=cid_of(b"", 0x55)),
        entry(LOW[0], RECORD, v=Cid(RECORD[:-1])),
        entry(LOW[0], RECORD, t=bytes(RECORD)),
        entry(LOW[0], RECORD, t=False),
        entry(LOW[0], RECORD, t=cid_of(b"", 0x55)),
        entry(LOW[0], RECORD, t=Cid(RECORD + b"\x00")),
        Unsorted(entry(LOW[0], RECORD)),
    ],
    ids=str,
)
def test_fields_of_an_entry(malformed: Any) -> None:
    builder = Builder()
    with pytest.raises(MstNodeMalformed):
        walk(builder, builder.add({"l": None, "e": [malformed]}))


@pytest.mark.parametrize(
    "malformed",
    [
        "text",
        [],
        {"l": None},
        {"e": []},
        {"l": None, "e": [], "more": 1},
        {"l": None, "e": {}},
        {"l": None, "e": None},
        {"l": False, "e": []},
        {"l": b"", "e": []},
        {"l": cid_of(b"", 0x55), "e": []},
        {"l": Cid(RECORD[:-1]), "e": []},
        Unsorted(l=None, e=[]),
        Raw(cbor({"l": None, "e": []}) + b"\x00"),
        Raw(b"\xa2\x61e\x98\x00\x61l\xf6"),
        Raw(b""),
    ],
    ids=str,
)
def test_fields_of_a_node(malformed: Any) -> None:
    builder = Builder()
    with pytest.raises(MstNodeMalformed):
        walk(builder, builder.add(malformed))


def test_a_record_that_is_the_root_itself_is_a_node() -> None:
    # No hash leads there, so the blocks are given names that are not their hashes.
    root = cid_of(b"root")
    block = cbor({"l": None, "e": [entry(LOW[0], root)]})
    with pytest.raises(MstRecordIsNode):
        mst.walk(root, lambda cid: {root: block}[Cid(cid)])


def test_a_circle_ends() -> None:
    root, child = cid_of(b"root"), cid_of(b"child")
    blocks = {
        root: cbor({"l": child, "e": [entry(HIGH[0], cid_of(b"record"))]}),
        child: cbor({"l": root, "e": []}),
    }
    with pytest.raises(MstCycle):
        mst.walk(root, lambda cid: blocks[Cid(cid)])


def test_a_missing_node_is_named() -> None:
    builder, record = Builder(), Builder().record()
    absent = cid_of(b"absent")
    with pytest.raises(BlockMissing, match=absent.hex()):
        walk(builder, builder.node(None, (MIDDLE[0], record, absent)))


def test_depth_costs_no_stack() -> None:
    """A chain of nodes that only point on, from a key as high as can be found, ends at its layer."""
    key = max((f"a.b.c/{number}" for number in range(20_000)), key=layer_of)
    chain = [cid_of(str(number).encode()) for number in range(3000)]
    blocks = {cid: cbor({"l": after, "e": []}) for cid, after in pairwise(chain)}
    blocks[chain[0]] = cbor({"l": chain[1], "e": [entry(key, cid_of(b"record"))]})
    with pytest.raises(MstDepthInvalid, match="lowest"):
        mst.walk(chain[0], lambda cid: blocks[Cid(cid)])
