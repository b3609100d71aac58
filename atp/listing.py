"""A repository record by record, as a host lists it. Nothing is signed here, so nothing is believed: what a
record's JSON stands for is encoded anew and must have the CID that the host names.

From the block on, a listed record takes the same way as one from a CAR, so both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import orjson

from atp import cid, dagcbor, syntax
from atp.car import Buffer
from atp.repo import BrokenRecord, Record, record_of
from schemas.errors import CidMismatch, CidUnsupported, NotAtproto, RecordInvalid

_LENGTH_BITS = 32


class Broken(NamedTuple):
    """Why a listed record can't be had: its JSON stands for no block, or for one with another CID."""

    cid: str
    reason: str
    mismatch: bool


class Row(NamedTuple):
    """One record of a page. ``block`` has the CID ``cid``; of a ``broken`` one it is the record's JSON."""

    rkey: str
    cid: str
    block: bytes
    broken: Broken | None = None


def rows(records: list[Any], did: str, collection: str) -> list[Row]:
    """The records of a page (listRecords' ``records``), each held against its CID.

    Raises NotAtproto for what is no page of this collection of this account.
    """
    prefix = f"at://{did}/{collection}/"
    return [_row(record, prefix) for record in records]


def _row(record: Any, prefix: str) -> Row:
    match record:
        case {"uri": str(uri), "cid": str(name), "value": value} if uri.startswith(prefix):
            rkey = uri.removeprefix(prefix)
        case _:
            message = f"a record that is not one of {prefix}, with a CID and a value: {str(record)[:200]}"
            raise NotAtproto(message, 200)
    try:
        block = dagcbor.from_json(value)
        _check(block, name)
    except RecordInvalid as error:
        broken = Broken(name, str(error), isinstance(error, CidMismatch))
        return Row(rkey, name, _text(value), broken)
    return Row(rkey, name, block)


def _text(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # nested deeper than it may be written, though not than it may be read
        return b""


def _check(block: bytes, name: str) -> None:
    try:
        wanted = cid.from_text(name)
    except CidUnsupported as error:
        raise CidMismatch(str(error)) from error
    if (found := cid.of_dag_cbor(block)) != wanted:
        raise CidMismatch(f"listed as {name}, but what the JSON stands for is {cid.to_text(found)}")


class Listing:
    """Where each listed record's bytes lie in a buffer that somebody else keeps, by collection and rkey.

    A key costs some 200 bytes; CIDs are not kept, they follow from the blocks.
    """

    def __init__(self, did: str) -> None:
        self.did = did
        self._places: dict[str, dict[str, int]] = {}
        self._broken: dict[tuple[str, str], Broken] = {}

    def add(self, collection: str, row: Row, start: int) -> bool:
        """Note a row whose ``block`` lies at ``start`` of the buffer. False: its key is noted already."""
        places = self._places.setdefault(collection, {})
        if row.rkey in places:
            return False
        places[row.rkey] = start << _LENGTH_BITS | len(row.block)
        if row.broken is not None:
            self._broken[collection, row.rkey] = row.broken
        return True

    def read(self, buffer: Buffer, rev: str) -> ListedRepo:
        """The records, as the repository had them at ``rev``; keep the buffer open meanwhile."""
        return ListedRepo(self.did, rev, buffer, self._places, self._broken)


class ListedRepo:
    """A repository whose records were proven one by one. Made by ``Listing.read``."""

    def __init__(
        self,
        did: str,
        rev: str,
        buffer: Buffer,
        places: dict[str, dict[str, int]],
        broken: dict[tuple[str, str], Broken],
    ) -> None:
        self.did = did
        self.rev = rev
        self.proof: Literal["commit", "cid"] = "cid"
        self._buffer, self._places, self._broken = buffer, places, broken

    def records(self, wanted: Callable[[str, str], bool] | None = None) -> Iterator[Record | BrokenRecord]:
        """The records, in the order of the keys; only those for which ``wanted(collection, rkey)``."""
        for collection in sorted(self._places, key=lambda name: f"{name}/"):
            places, is_nsid = self._places[collection], syntax.is_nsid(collection)
            for rkey in sorted(places):
                if wanted is None or wanted(collection, rkey):
                    yield self._record(collection, rkey, places[rkey], is_nsid)

    def _record(self, collection: str, rkey: str, place: int, is_nsid: bool) -> Record | BrokenRecord:
        start, length = place >> _LENGTH_BITS, place & (1 << _LENGTH_BITS) - 1
        block = bytes(self._buffer[start : start + length])
        if broken := self._broken.get((collection, rkey)):
            return BrokenRecord(collection, rkey, broken.cid, broken.reason, block, broken.mismatch)
        record_cid = cid.to_text(cid.of_dag_cbor(block))
        key_is_valid = is_nsid and syntax.is_rkey(rkey)
        return record_of(collection, rkey, record_cid, block, key_is_valid=key_is_valid)
