"""Builds real signed repositories: DAG-CBOR blocks, Merkle search tree, commit, CAR file.

Shares no code with the reader in ``atp``, so that each judges the other. What it builds must be
canonical to the byte: the same records always give the same tree, commit and CAR.
Sources: atproto.com/specs/repository, ipld.io/specs/transport/car/carv1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cbrrr import CID, DagCborTypes, encode_dag_cbor

from local.network.keys import SigningKey

BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
BASE32_PAIRS = [a + b for a in BASE32 for b in BASE32]
CID_PREFIX = b"\x01\x71\x12\x20"  # CID v1, DAG-CBOR, SHA-256 of 32 bytes

Json = dict[str, Any]


def cid_of(block: bytes) -> bytes:
    """The binary CID of a DAG-CBOR block."""
    return CID_PREFIX + hashlib.sha256(block).digest()


def cid_text(cid: bytes) -> str:
    """A binary CID as text: multibase base32 in lower case, without padding."""
    # 36 bytes are 288 bits: 58 characters with 2 bits of padding, taken two at a time.
    bits = int.from_bytes(cid, "big") << 2
    return "b" + "".join([BASE32_PAIRS[bits >> shift & 1023] for shift in range(280, -1, -10)])


def encode_record(record: Json) -> bytes:
    """A record in atproto JSON form ($link, $bytes) as DAG-CBOR."""
    block: bytes = encode_dag_cbor(record, atjson_mode=True)
    return block


def key_height(key: bytes) -> int:
    """The MST layer of a key: pairs of leading zero bits in its SHA-256."""
    return (256 - int.from_bytes(hashlib.sha256(key).digest(), "big").bit_length()) // 2


@dataclass(frozen=True)
class Repository:
    """A signed repository as blocks. ``blocks`` are in the order of the CAR: commit, nodes, records."""

    did: str
    rev: str
    commit: bytes
    nodes: Sequence[bytes]
    records: Mapping[str, bytes]
    blocks: Mapping[bytes, bytes]

    def car(self, *, without: Collection[bytes] = ()) -> bytes:
        """The CAR v1 file; ``without`` names blocks (binary CIDs) to leave out."""
        parts = [_framed(encode_dag_cbor({"version": 1, "roots": [CID(self.commit)]}))]
        for cid, block in self.blocks.items():
            if cid not in without:
                parts.append(_framed(cid, block))
        return b"".join(parts)


def build_repository(did: str, key: SigningKey, records: Mapping[str, Json | bytes], rev: str) -> Repository:
    """Build and sign a repository of ``records``: "collection/rkey" to atproto JSON.

    A value of type bytes is the encoded block itself, whatever it holds: so a record that is not valid
    atproto data can stand in an otherwise right tree.
    """
    blocks = {n: r if isinstance(r, bytes) else encode_record(r) for n, r in records.items()}
    cids = {name: cid_of(block) for name, block in blocks.items()}
    tree = _Tree(cids)
    commit = sign_commit(did, key, tree.root, rev)
    in_order = {cid_of(commit): commit}
    in_order.update(reversed(tree.nodes.items()))
    for name in tree.keys:
        in_order[cids[name]] = blocks[name]
    return Repository(did, rev, cid_of(commit), list(tree.nodes), cids, in_order)


def build_car(did: str, key: SigningKey, records: Mapping[str, Json | bytes], rev: str) -> bytes:
    """A repository as one CAR file; see ``build_repository``."""
    return build_repository(did, key, records, rev).car()


def sign_commit(did: str, key: SigningKey, data: bytes, rev: str) -> bytes:
    """A signed commit block, version 3, for the tree whose root is ``data``."""
    commit: dict[str, Any] = {"did": did, "version": 3, "data": CID(data), "rev": rev, "prev": None}
    commit["sig"] = key.sign(encode_dag_cbor(commit))
    signed: bytes = encode_dag_cbor(commit)
    return signed


class _Tree:
    """The canonical Merkle search tree over a set of keys; ``nodes`` are in order of building, root last."""

    def __init__(self, cids: Mapping[str, bytes]) -> None:
        self.keys = sorted(cids)  # keys are ASCII: order of text is order of bytes
        self._keys = [key.encode("ascii") for key in self.keys]
        self._values = [CID(cids[key]) for key in self.keys]
        self._heights = [key_height(key) for key in self._keys]
        self.nodes: dict[bytes, bytes] = {}
        top = max(self._heights, default=0)
        self.root = self._node(0, len(self._keys), top)

    def _subtree(self, start: int, end: int, layer: int) -> CID | None:
        return CID(self._node(start, end, layer)) if start < end else None

    def _node(self, start: int, end: int, layer: int) -> bytes:
        """Build the node that holds keys[start:end] at ``layer`` and below; returns its CID."""
        here = [i for i in range(start, end) if self._heights[i] == layer]
        left = self._subtree(start, here[0] if here else end, layer - 1)
        entries: list[DagCborTypes] = []
        before = b""
        for i, following in zip(here, [*here[1:], end], strict=False):  # a node may hold no key itself
            key = self._keys[i]
            shared = _common_prefix(before, key)
            right = self._subtree(i + 1, following, layer - 1)
            entries.append({"p": shared, "k": key[shared:], "v": self._values[i], "t": right})
            before = key
        block: bytes = encode_dag_cbor({"l": left, "e": entries})
        cid = cid_of(block)
        self.nodes[cid] = block
        return cid


def _common_prefix(a: bytes, b: bytes) -> int:
    """How many leading bytes are equal: the highest differing bit is in the first other byte."""
    length = min(len(a), len(b))
    difference = int.from_bytes(a[:length], "big") ^ int.from_bytes(b[:length], "big")
    return length - (difference.bit_length() + 7) // 8


def _framed(*parts: bytes) -> bytes:
    """Parts joined, with their length before them as an unsigned varint."""
    length = sum(map(len, parts))
    prefix = bytearray()
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return b"".join((prefix, *parts))
