"""Makes repositories, right ones and wrong ones, for the reader to judge.

Shares no code with the reader: its own CBOR, its own hashes, signatures by ``cryptography``. What is wrong
is wrong on purpose and signed all the same, so that each fault meets its own check and not another's.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import base58
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
REV = "3lbcv7quuzs2a"
NOW = 1_800_000_000.0

_ORDERS = {
    "k256": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    "p256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
}
_CURVES: dict[str, ec.EllipticCurve] = {"k256": ec.SECP256K1(), "p256": ec.SECP256R1()}
_PREFIXES = {"k256": b"\xe7\x01", "p256": b"\x80\x24"}


class Cid(bytes):
    """A link: written with tag 42."""

    def text(self) -> str:
        return "b" + base64.b32encode(self).decode().lower().rstrip("=")


class Raw(bytes):
    """Bytes that are CBOR already, canonical or not."""


class Unsorted(dict[str, Any]):
    """A map whose keys are written in the order that they stand in."""


def cbor(value: Any) -> bytes:
    """Canonical DAG-CBOR, but for Raw and Unsorted."""
    match value:
        case Raw():
            return bytes(value)
        case Cid():
            return b"\xd8\x2a" + cbor(b"\x00" + bytes(value))
        case None | True | False:
            return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            text = value.encode()
            return _head(3, len(text)) + text
        case list() | tuple():
            return _head(4, len(value)) + b"".join(map(cbor, value))
        case dict():
            items = [(cbor(name), cbor(item)) for name, item in value.items()]
            if not isinstance(value, Unsorted):
                items.sort(key=lambda item: (len(item[0]), item[0]))
            return _head(5, len(items)) + b"".join(name + item for name, item in items)
    raise TypeError(type(value))


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for code, size in (24, 1), (25, 2), (26, 4), (27, 8):
        if number < 1 << 8 * size:
            return bytes([major << 5 | code]) + number.to_bytes(size, "big")
    raise OverflowError(number)


def cid_of(block: bytes, codec: int = 0x71) -> Cid:
    return Cid(bytes([1, codec, 0x12, 0x20]) + hashlib.sha256(block).digest())


def layer_of(key: str) -> int:
    bits = "".join(f"{byte:08b}" for byte in hashlib.sha256(key.encode()).digest())
    return len(bits.split("1", 1)[0]) // 2


def keys_of_layer(layer: int, count: int, collection: str = "app.bsky.feed.post") -> list[str]:
    """The first keys of a layer, in order."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        key = f"{collection}/3l{number:011}"
        number += 1
        if layer_of(key) == layer:
            found.append(key)
    return found


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


class Signer:
    """A key of an account."""

    def __init__(self, curve: str = "k256", secret: int = 7) -> None:
        self.curve = curve
        self._private = ec.derive_private_key(secret, _CURVES[curve])
        public = self._private.public_key()
        self.compressed = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        self.uncompressed = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.multikey = "z" + base58.b58encode(_PREFIXES[curve] + self.compressed).decode()
        self.did_key = "did:key:" + self.multikey

    def sign(self, data: bytes, *, high_s: bool = False) -> bytes:
        r, s = decode_dss_signature(self._private.sign(data, ec.ECDSA(SHA256())))
        if (s > _ORDERS[self.curve] // 2) != high_s:
            s = _ORDERS[self.curve] - s
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Builder:
    """A repository in the making: blocks in the order they were added, commit last."""

    def __init__(self, signer: Signer | None = None) -> None:
        self.signer = signer or Signer()
        self.blocks: dict[Cid, bytes] = {}

    def add(self, value: Any) -> Cid:
        """Add a block of any value."""
        return self.add_block(cbor(value))

    def add_block(self, block: bytes) -> Cid:
        cid = cid_of(block)
        self.blocks[cid] = block
        return cid

    def record(self, text: str = "hello", **more: Any) -> Cid:
        return self.add(post(text, **more))

    def node(self, left: Cid | None, *entries: tuple[str, Cid, Cid | None] | Mapping[str, Any]) -> Cid:
        """Add a node. An entry is (key, record, right subtree), or the map to be written as it is."""
        return self.add({"l": left, "e": entries_of(entries)})

    def tree(self, records: Mapping[str, Cid]) -> Cid:
        """Add the one right tree for these records."""
        keys = sorted(records, key=str.encode)
        root = self._subtree(keys, records, max(map(layer_of, keys), default=0))
        return root if root is not None else self.node(None)

    def _subtree(self, keys: Sequence[str], records: Mapping[str, Cid], layer: int) -> Cid | None:
        if not keys:
            return None
        own = [index for index, key in enumerate(keys) if layer_of(key) == layer]
        left, *rights = (
            self._subtree(keys[start + 1 : end], records, layer - 1)
            for start, end in pairwise([-1, *own, len(keys)])
        )
        entries = [(keys[i], records[keys[i]], right) for i, right in zip(own, rights, strict=True)]
        return self.node(left, *entries)

    def commit(
        self, data: Cid | None, *, high_s: bool = False, drop: Iterable[str] = (), **fields: Any
    ) -> Cid:
        """Add a signed commit; ``fields`` replace and ``drop`` removes fields before it is signed.

        A field ``sig`` replaces the signature itself.
        """
        commit = {"did": DID, "version": 3, "data": data, "rev": REV, "prev": None, **fields}
        signature = commit.pop("sig", None)
        for name in drop:
            commit.pop(name, None)
        if signature is None:
            signature = self.signer.sign(cbor(commit), high_s=high_s)
        return self.add({**commit, "sig": signature} if "sig" not in drop else commit)

    def car(self, root: Cid, *, without: Iterable[Cid] = ()) -> bytes:
        """The CAR of all blocks but those ``without``."""
        missing = set(without)
        return car([root], [(cid, block) for cid, block in self.blocks.items() if cid not in missing])

    def repo(self, data: Cid, **fields: Any) -> bytes:
        """The CAR with a right commit over a tree."""
        return self.car(self.commit(data, **fields))


def entries_of(entries: Iterable[tuple[str, Cid, Cid | None] | Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A node's list ``e``, each key after the longest prefix that it shares with the key before it."""
    written: list[Mapping[str, Any]] = []
    before = b""
    for entry in entries:
        if isinstance(entry, Mapping):
            written.append(entry)
            continue
        key = entry[0].encode()
        prefix = 0
        while prefix < min(len(before), len(key)) and before[prefix] == key[prefix]:
            prefix += 1
        written.append({"p": prefix, "k": key[prefix:], "v": entry[1], "t": entry[2]})
        before = key
    return written


def car(roots: Sequence[Cid], blocks: Iterable[tuple[Cid, bytes]], header: bytes | None = None) -> bytes:
    """A CAR file of these blocks, whatever they are."""
    header = cbor({"version": 1, "roots": list(roots)}) if header is None else header
    sections = [header, *(cid + block for cid, block in blocks)]
    return b"".join(varint(len(section)) + section for section in sections)


def post(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"$type": "app.bsky.feed.post", "text": text, "createdAt": "2024-05-06T07:08:09.123Z", **more}


def sound(count: int = 40, signer: Signer | None = None) -> tuple[Builder, Cid, dict[str, Cid]]:
    """A right repository of ``count`` records: its builder, its commit, its records' CIDs."""
    builder = Builder(signer)
    records: dict[str, Cid] = {}
    for number in range(count):
        collection = ("app.bsky.feed.post", "app.bsky.feed.like")[number % 2]
        records[f"{collection}/3l{number:011}"] = builder.record(f"number {number}")
    return builder, builder.commit(builder.tree(records)), records
