"""A whole repository, from the bytes of its CAR. ``read`` gives back nothing that was not proven up to
the account's signature; the records are transcoded later, one at a time, as they are asked for.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol

from atp import cid, commit, dagcbor, keys, mst, syntax
from atp.car import Buffer, Car
from atp.keys import PublicKey
from schemas.errors import BlockMissing, IdentityIncomplete, RecordInvalid, SignatureInvalid


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

    def __init__(self, did: str, rev: str, root: str, version: int, car: Car, tree: mst.Tree) -> None:
        """Take what ``read`` has proven. Raises BlockMissing where a record's block is not there."""
        self.did = did
        self.rev = rev  # "" for a commit of version 2 without rev
        self.proof: Literal["commit", "cid"] = "commit"
        self.commit = root
        self.version = version
        self.size = car.size
        self._car = car
        self._keys = tree.keys
        self._blocks = _locate(car, tree)
        car.forget_numbers()

    def __len__(self) -> int:
        """The number of records."""
        return len(self._keys)

    def keys(self) -> Iterator[tuple[str, str]]:
        """Collection and rkey of every record, in the order of the keys."""
        for key in self._keys:
            collection, _, rkey = key.partition("/")
            yield collection, rkey

    def records(self, wanted: Callable[[str, str], bool] | None = None) -> Iterator[Record | BrokenRecord]:
        """The records, in the order of the keys; only those for which ``wanted(collection, rkey)``."""
        nsids: dict[str, bool] = {}  # a repository has many records and few collections
        for (collection, rkey), block in zip(self.keys(), self._blocks, strict=True):
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
    tree = mst.walk(head.data, blocks.block)
    return Repo(head.did, head.rev, cid.to_text(blocks.root), head.version, blocks, tree)


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


def _locate(car: Car, tree: mst.Tree) -> array[int]:
    """The numbers of the records' blocks, in the order of the keys."""
    numbers = array("Q")
    for record in tree.records:
        number = car.number(record)
        if number is None:
            key = tree.keys[len(numbers)]
            raise BlockMissing(f"the record {key}, {cid.to_text(record)}, is not in the CAR")
        numbers.append(number)
    return numbers
