"""DAG-CBOR, strictly: a block that decodes here has exactly one encoding, so its CID stays its CID.

Records leave as atproto JSON ({"$link": …}, {"$bytes": …}). What JSON could not tell apart from
something else never leaves; it is RecordInvalid. Source: atproto.com/specs/data-model
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import cbrrr
import orjson

from atp import cid
from schemas.errors import RecordInvalid

MAX_NESTING = 254
"""Levels of maps and lists in a record: what orjson writes, and every JSON reader takes."""

_MAP = 5  # CBOR's major type
_SMALLEST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**63 - 1

# Two screens over the encoded bytes, so that nearly every record is spared a walk over its values.
# They may suspect a sound record (a text that speaks of "$type"), never pass an unsound one: a tag is
# always encoded d8 2a, and a map's key as its plain text.
_LINK_SUSPECT = re.compile(rb"\xd8\x2a(?!\x58\x25\x00\x01[\x71\x55]\x12\x20)")
_TYPE_SUSPECT = re.compile(rb"\$type(?:[^\x61-\x7b]|\x64blob)")


class Link:
    """A CID inside a block, as its bytes (told apart from a byte string by type)."""

    __slots__ = ("cid_bytes",)

    def __init__(self, cid_bytes: bytes) -> None:
        self.cid_bytes = cid_bytes

    def __bytes__(self) -> bytes:
        return self.cid_bytes


def decode(block: bytes) -> Any:
    """The value of a block; links as Link, unchecked. Raises ValueError for all but canonical DAG-CBOR."""
    return cbrrr.decode_dag_cbor(block, cid_ctor=Link)


def encode(value: Any) -> bytes:
    """The one encoding of a value made of what ``decode`` returns."""
    return cbrrr.encode_dag_cbor(value, cid_type=Link)


def to_json(block: bytes) -> tuple[bytes, dict[str, Any]]:
    """A record's block as atproto JSON text, and as the value that the text was written from.

    Raises RecordInvalid where the block isn't valid atproto data: not canonical DAG-CBOR, not a map,
    with a float, a number beyond 64 bits signed, bad UTF-8, a foreign CID, a misused ``$`` key, or
    nested deeper than MAX_NESTING.
    """
    try:
        value = cast(dict[str, Any], cbrrr.decode_dag_cbor(block, atjson_mode=True))
    except ValueError as error:
        raise RecordInvalid(f"not canonical DAG-CBOR that JSON can hold: {error}") from error
    if block[0] >> 5 != _MAP:  # the JSON can't tell: it shows links and byte strings as maps, too
        raise RecordInvalid("not a map")
    if _LINK_SUSPECT.search(block) or _TYPE_SUSPECT.search(block):
        _check(decode(block))
    try:
        return orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER), value
    except orjson.JSONEncodeError:  # nested too deep, or a number beyond 53 bits: that alone may be fine
        _check(decode(block))
    try:
        return orjson.dumps(value), value
    except orjson.JSONEncodeError as error:
        raise RecordInvalid(f"nested deeper than {MAX_NESTING} levels") from error


def from_json(value: Any) -> bytes:
    """The block of a record that a host listed: the one encoding of what atproto JSON stands for.

    Raises RecordInvalid where there is none (a float, a misused ``$`` key, a number beyond 64 bits); whether
    a block that comes out is valid atproto data is `to_json`'s to say.
    """
    try:
        block: bytes = cbrrr.encode_dag_cbor(value, atjson_mode=True)
    except (ValueError, TypeError) as error:
        raise RecordInvalid(f"JSON that stands for no atproto data: {error}") from error
    return block


def _check(record: Any) -> None:
    for value in _values(record):
        match value:
            case Link(cid_bytes=link) if not cid.is_supported(link):
                raise RecordInvalid("a link is not a CID of version 1 with DAG-CBOR or raw, and SHA-256")
            case int() if not _SMALLEST_INTEGER <= value <= _LARGEST_INTEGER:
                raise RecordInvalid("a number beyond 64 bits signed")
            case {"$type": str(name)} if name:
                _check_blob(value)
            case {"$type": _}:
                raise RecordInvalid("a $type that is not a text, or empty")


def _check_blob(value: dict[str, Any]) -> None:
    if value["$type"] != "blob":
        return
    ref, mime_type, size = value.get("ref"), value.get("mimeType"), value.get("size")
    if not (isinstance(ref, Link) and isinstance(mime_type, str) and type(size) is int):
        raise RecordInvalid("a blob without a link as ref, a text as mimeType and a number as size")


def _values(record: Any) -> Iterator[Any]:
    """Every value in the record, the record itself included. A stack, as records nest at will."""
    pending = [record]
    while pending:
        value = pending.pop()
        yield value
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
