"""A whole repository, from the bytes of its CAR. ``read`` gives back nothing that was not proven up to
the account's signature; the records are transcoded later, one at a time, as they are asked for.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal, NamedTuple, Protocol

from atp import cid, commit, dagcbor, keys, mst, syntax
from atp.car import Buffer, Car
from atp.keys import PublicKey
from schemas.errors import BlockMissing, IdentityIncomplete, RecordInvalid, SignatureInvalid

_CHUNK_KEYS = 1024
_RELEASE_RECORDS = 1024
"""Each may lie in another part of a mapped file, and the system maps 64 KiB around what is read."""


class Record(NamedTuple):
    """One record. ``json`` is atproto JSON; ``created_at`` its createdAt as written, if a text."""

    collection: str
    rkey: str
    cid: str
    json: bytes
    created_at: str | None


class BrokenRecord(NamedTuple):
    """A record that is in its place but not valid atproto data. ``raw`` is its block, or the JSON of one that
    was listed."""

    collection: str
    rkey: str
    cid: str
    reason: str
    raw: bytes
    mismatch: bool = False  # listed under a CID that is not its own


class Records(Protocol):
    """An account's records, all proven in the same way."""

    did: str
    rev: str
    proof: Literal["commit", "cid"]

    def records(self, wanted: Callable[[str, str], bool] | None = None) -> Iterator[Record | BrokenRecord]:
        """The records, in the order of the keys; only those for which ``wanted(collection, rkey)``."""


class Repo:
    """A repository verified up to its signature. Made by ``read``.

    Reads records from the buffer that it was made of; keep that open meanwhile.
    """

    def __init__(self, head: commit.Commit, car: Car, contents: _Contents) -> None:
        """Take what ``read`` has proven."""
        self.proof: Literal["commit", "cid"] = "commit"
        self.did = head.did
        self.rev = head.rev  # "" for a commit of version 2 without rev
        self.commit = cid.to_text(car.root)
        self.version = head.version
        self.size = car.size
        self._car = car
        self._contents = contents
        car.forget_numbers()

    def __len__(self) -> int:
        """The number of records."""
        return len(self._contents.blocks)

    def keys(self) -> Iterator[tuple[str, str]]:
        """Collection and rkey of every record, in the order of the keys."""
        for key in self._contents:
            collection, _, rkey = key.partition("/")
            yield collection, rkey

    def records(self, wanted: Callable[[str, str], bool] | None = None) -> Iterator[Record | BrokenRecord]:
        """The records, in the order of the keys; only those for which ``wanted(collection, rkey)``."""
        nsids: dict[str, bool] = {}  # a repository has many records and few collections
        release_at = _RELEASE_RECORDS
        for place, ((collection, rkey), block) in enumerate(
            zip(self.keys(), self._contents.blocks, strict=True)
        ):
            if place == release_at:
                self._car.release()
                release_at += _RELEASE_RECORDS
            if wanted is not None and not wanted(collection, rkey):
                continue
            if collection not in nsids:
                nsids[collection] = syntax.is_nsid(collection)
            key_is_valid = nsids[collection] and syntax.is_rkey(rkey)
            record_cid = cid.to_text(self._car.cid(block))
            yield record_of(collection, rkey, record_cid, self._car.data(block), key_is_valid=key_is_valid)


def read(car: Buffer, did: str, signing_key: str, *, now: float | None = None) -> Repo:
    """Read a repository and prove it: hashes, commit, tree, and that every record is there.

    ``car`` is a whole CAR file, ``signing_key`` the account's key as did:key, ``now`` the time in
    seconds since 1970 (the clock's, if None). Raises RepoError's subclasses.
    """
    key = key_of(signing_key)
    blocks = Car(car)
    head = commit.parse(blocks.block(blocks.root), did, key, time.time() if now is None else now)
    return Repo(head, blocks, _Contents(mst.Walk(head.data, blocks.block), blocks))


def key_of(signing_key: str) -> PublicKey:
    """The key of a did:key, for a commit. Raises SignatureInvalid: without it no signature holds."""
    try:
        return keys.from_did_key(signing_key)
    except IdentityIncomplete as error:
        raise SignatureInvalid(f"no key to check the signature with: {error}") from error


def record_of(
    collection: str, rkey: str, record_cid: str, block: bytes, *, key_is_valid: bool
) -> Record | BrokenRecord:
    """A record from its block, whichever way the block came."""
    try:
        if not key_is_valid:
            raise RecordInvalid("the key is not a valid collection and rkey")
        json, value = dagcbor.to_json(block)
    except RecordInvalid as error:
        return BrokenRecord(collection, rkey, record_cid, str(error), block)
    created_at = value.get("createdAt")
    return Record(collection, rkey, record_cid, json, created_at if isinstance(created_at, str) else None)


class _Contents:
    """The keys of all records, in their order, and the numbers of their blocks, in little memory."""

    def __init__(self, walk: mst.Walk, car: Car) -> None:
        """Goes through the whole tree. Raises MstError's subclasses, and BlockMissing."""
        self.blocks = array("I")
        self._chunks: list[str] = []
        waiting: list[bytes] = []
        missing = ""
        for leaves in walk:
            for key, record in zip(leaves.keys, leaves.records, strict=True):
                number = car.number(record)
                if number is None:
                    missing = missing or f"{key.decode('ascii')}, {cid.to_text(record)},"
                    number = len(car)
                self.blocks.append(number)
            waiting += leaves.keys
            if len(waiting) >= _CHUNK_KEYS:
                self._keep(waiting)
                car.release()
        self._keep(waiting)
        self._refuse_nodes(walk.nodes, car)
        if missing:
            raise BlockMissing(f"the record {missing} is not in the CAR")

    def __iter__(self) -> Iterator[str]:
        """All keys, ``collection/rkey``."""
        for chunk in self._chunks:
            yield from chunk.split("\n")

    def _keep(self, keys: list[bytes]) -> None:
        if keys:
            self._chunks.append(b"\n".join(keys).decode("ascii"))
            keys.clear()

    def _refuse_nodes(self, nodes: set[bytes], car: Car) -> None:
        is_node = bytearray(len(car) + 1)  # one more for what is missing
        for count, node in enumerate(nodes):
            number = car.number(node)
            if count % _RELEASE_RECORDS == 0:
                car.release()
            assert number is not None  # it was loaded by its CID
            is_node[number] = True
        wrong = next((place for place, number in enumerate(self.blocks) if is_node[number]), None)
        if wrong is not None:
            raise mst.record_is_node(next(islice(self, wrong, None)))
