"""The Merkle search tree, which says what records there are. For one set of records there is one tree;
anything else is refused, so a record can neither hide nor stand in two places.

The walk needs no CAR, only a function from CID to block. Source: atproto.com/specs/repository#mst-structure
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from atp import cid, dagcbor
from schemas.errors import (
    MstCycle,
    MstDepthInvalid,
    MstKeyInvalid,
    MstKeyOrder,
    MstKeyOutOfBounds,
    MstNodeEmpty,
    MstNodeMalformed,
    MstPrefixInvalid,
    MstRecordIsNode,
)

_NODE_FIELDS = frozenset({"l", "e"})
_ENTRY_FIELDS = frozenset({"p", "k", "v", "t"})
_KEY = re.compile(rb"[a-zA-Z0-9._:~-]+/[a-zA-Z0-9._:~-]+")
_LONGEST_KEY = 1024


class Tree(NamedTuple):
    """The records of a tree in the order of their keys, ``collection/rkey``."""

    keys: list[str]
    records: list[bytes]  # their CIDs


class _Node(NamedTuple):
    keys: list[bytes]
    records: list[bytes]
    children: list[bytes | None]  # one more than keys: the subtree before each key, and the last


class _Subtree(NamedTuple):
    """A pointer yet to be followed: its layer is known, and the keys that it lies between."""

    cid: bytes
    layer: int | None  # None for the root, whose own keys say it
    low: bytes | None
    high: bytes | None


class Leaves(NamedTuple):
    """Neighbouring keys, whose place among the others has been checked, and their records' CIDs."""

    keys: list[bytes]
    records: list[bytes]


class Walk:
    """The leaves of a tree in the order of their keys, neighbours together, each checked before it is given.

    ``load`` gives a node's block, or None to leave its subtree out, or raises BlockMissing. Layers count down
    to zero, so the walk ends whatever the blocks say. Iterate once; raises MstError's subclasses.
    """

    def __init__(self, root: bytes, load: Callable[[bytes], bytes | None]) -> None:
        self._root, self._load = root, load
        self.nodes: set[bytes] = set()
        """The CIDs of all nodes met so far. None of them may be a record's: see ``record_is_node``."""

    def __iter__(self) -> Iterator[Leaves]:
        seen = self.nodes
        pending: list[_Subtree | Leaves] = [_Subtree(self._root, None, None, None)]
        while pending:
            item = pending.pop()
            if isinstance(item, Leaves):
                yield item
                continue
            if item.cid in seen:
                raise MstCycle(f"node {cid.to_text(item.cid)} is reached twice")
            seen.add(item.cid)
            block = self._load(item.cid)
            if block is not None:
                pending.extend(_expand(_parse(block), item))


def walk(root: bytes, load: Callable[[bytes], bytes | None]) -> Tree:
    """Walk the whole tree under the CID ``root`` and check it, as ``Walk`` does."""
    steps, tree = Walk(root, load), Tree([], [])
    for keys, records in steps:
        tree.keys.extend(key.decode("ascii") for key in keys)
        tree.records.extend(records)
    if not steps.nodes.isdisjoint(tree.records):
        raise record_is_node(
            next(k for k, r in zip(tree.keys, tree.records, strict=True) if r in steps.nodes)
        )
    return tree


def record_is_node(key: str) -> MstRecordIsNode:
    """The error of a record whose CID is a node's of its own tree."""
    return MstRecordIsNode(f"the record {key} is a node of the tree")


def layer_of(key: bytes) -> int:
    """The layer that a key belongs to: the leading zero bits of its SHA-256, in pairs."""
    digest = int.from_bytes(hashlib.sha256(key).digest(), "big")
    return (256 - digest.bit_length()) // 2


def is_common_prefix(left: bytes, right: bytes, length: int) -> bool:
    """Tell whether both begin with the same ``length`` bytes, and with no more."""
    if length > len(left) or left[:length] != right[:length]:
        return False
    return length == len(left) or length == len(right) or left[length] != right[length]


def _expand(node: _Node, place: _Subtree) -> list[_Subtree | Leaves]:
    """A node's subtrees and leaves, the last first, after checking that the node may stand here."""
    layer = _check_layer(node, place)
    _check_bounds(node, place)
    if layer == 0:  # most keys live here
        return [Leaves(node.keys, node.records)]
    items: list[_Subtree | Leaves] = []
    bounds = [place.low, *node.keys, place.high]
    for index in range(len(node.keys), -1, -1):
        child = node.children[index]
        if child is not None:
            items.append(_Subtree(child, layer - 1, bounds[index], bounds[index + 1]))
        if index:
            items.append(Leaves(node.keys[index - 1 : index], node.records[index - 1 : index]))
    return items


def _check_layer(node: _Node, place: _Subtree) -> int:
    is_root = place.layer is None
    if not node.keys:
        has_child = node.children[0] is not None
        if has_child == is_root:  # the empty repository is the one tree of an empty node
            raise MstNodeEmpty("the root only points on" if is_root else "a node without entry and pointer")
    layer = place.layer if place.layer is not None else layer_of(node.keys[0]) if node.keys else 0
    for key in node.keys:
        if layer_of(key) != layer:
            raise MstDepthInvalid(f"key {_show(key)} of layer {layer_of(key)} stands in layer {layer}")
    if layer == 0 and any(child is not None for child in node.children):
        raise MstDepthInvalid("a node of the lowest layer has a subtree")
    return layer


def _check_bounds(node: _Node, place: _Subtree) -> None:
    if not node.keys:
        return
    if place.low is not None and node.keys[0] <= place.low:
        raise MstKeyOutOfBounds(f"key {_show(node.keys[0])} stands after {_show(place.low)}")
    if place.high is not None and node.keys[-1] >= place.high:
        raise MstKeyOutOfBounds(f"key {_show(node.keys[-1])} stands before {_show(place.high)}")


def _parse(block: bytes) -> _Node:
    try:
        fields = dagcbor.decode(block)
    except ValueError as error:
        raise MstNodeMalformed(f"not canonical DAG-CBOR: {error}") from error
    if not isinstance(fields, dict) or fields.keys() != _NODE_FIELDS:
        raise MstNodeMalformed("not a map of l and e alone")
    entries = fields["e"]
    if not isinstance(entries, list):
        raise MstNodeMalformed("e is not a list")
    node = _Node([], [], [_pointer(fields["l"])])
    before = b""
    for entry in entries:
        before = _add_entry(node, entry, before)
    return node


def _add_entry(node: _Node, entry: Any, before: bytes) -> bytes:
    """Add one entry to its node and give back its key; ``before`` is the key before it."""
    if not isinstance(entry, dict) or entry.keys() != _ENTRY_FIELDS:
        raise MstNodeMalformed("an entry is not a map of p, k, v and t alone")
    prefix, suffix, record = entry["p"], entry["k"], entry["v"]
    if type(prefix) is not int or prefix < 0 or type(suffix) is not bytes:
        raise MstNodeMalformed("an entry's p is not a length, or its k not a byte string")
    if type(record) is not dagcbor.Link or not cid.is_dag_cbor(record.cid_bytes):
        raise MstNodeMalformed("an entry's v is not a link to a DAG-CBOR block with SHA-256")
    if prefix > len(before):
        raise MstPrefixInvalid(f"a prefix of {prefix} bytes after a key of {len(before)}")
    key = before[:prefix] + suffix
    if not _KEY.fullmatch(key) or len(key) > _LONGEST_KEY:
        raise MstKeyInvalid(f"key {_show(key)} is not collection/rkey")
    if key <= before:
        raise MstKeyOrder(f"key {_show(key)} follows {_show(before)}")
    if not is_common_prefix(before, key, prefix):
        raise MstPrefixInvalid(f"key {_show(key)} shares more than {prefix} bytes with the key before it")
    node.keys.append(key)
    node.records.append(record.cid_bytes)
    node.children.append(_pointer(entry["t"]))
    return key


def _pointer(link: Any) -> bytes | None:
    if link is None:
        return None
    if type(link) is not dagcbor.Link or not cid.is_dag_cbor(link.cid_bytes):
        raise MstNodeMalformed("a pointer is neither null nor a link to a DAG-CBOR block with SHA-256")
    return link.cid_bytes


def _show(key: bytes) -> str:
    return repr(key[:200])[1:]
