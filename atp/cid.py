"""CIDs, the hashes that blocks are known by. Only the one form that the protocol uses gets through:
version 1, DAG-CBOR (or raw, for blobs), SHA-256, 36 bytes; so equal CIDs are equal bytes.

Source: atproto.com/specs/data-model#link-and-cid-formats
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

import cbrrr

from schemas.errors import CidUnsupported

LENGTH = 36
DAG_CBOR = b"\x01\x71\x12\x20"
RAW = b"\x01\x55\x12\x20"
_SYNTAX = re.compile(r"[a-zA-Z0-9+=]{8,256}")
_LINK = b"\xd8\x2a\x58\x25\x00"  # CBOR tag 42, 37 bytes, multibase identity


def of_dag_cbor(block: bytes) -> bytes:
    """The CID of an encoded DAG-CBOR block."""
    return DAG_CBOR + hashlib.sha256(block).digest()


def is_dag_cbor(cid: bytes) -> bool:
    """Tell whether ``cid`` names a DAG-CBOR block by its SHA-256."""
    return len(cid) == LENGTH and cid.startswith(DAG_CBOR)


def is_supported(cid: bytes) -> bool:
    """Tell whether ``cid`` has one of the two forms that the protocol uses."""
    return len(cid) == LENGTH and cid.startswith((DAG_CBOR, RAW))


def to_text(cid: bytes) -> str:
    """The base32 text of a CID, ``bafyrei…``.

    Goes through cbrrr's JSON of a link: its base32 is native, base64.b32encode is ten times slower.
    """
    text: str = cbrrr.decode_dag_cbor(_LINK + cid, atjson_mode=True)["$link"]  # type: ignore[index,call-overload,assignment]
    return text


def from_text(text: str) -> bytes:
    """The bytes of a base32 CID. Raises CidUnsupported for every other form."""
    try:
        cid = base64.b32decode(text[1:].upper() + "=" * (-(len(text) - 1) % 8))
    except (binascii.Error, ValueError):
        cid = b""
    if not is_supported(cid) or to_text(cid) != text:
        raise CidUnsupported(f"{text[:100]!r} is not a CID of version 1 with SHA-256, in base32")
    return cid


def is_syntax(text: str) -> bool:
    """Tell whether ``text`` could be a CID, in any base but version 0. No promise that it decodes."""
    return _SYNTAX.fullmatch(text) is not None and not text.startswith("Qm")
