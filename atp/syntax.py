"""What identifiers and timestamps look like. Says yes or no; never repairs what it is given.

Sources: atproto.com/specs/{did,handle,nsid,record-key,at-uri-scheme,lexicon#datetime}. Judged by the
protocol's own vectors in tests/interop.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from atp.tid import is_tid

__all__ = [
    "is_at_uri",
    "is_datetime",
    "is_did",
    "is_handle",
    "is_nsid",
    "is_rkey",
    "is_tid",
    "parse_datetime",
]

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_ALPHABETIC_LABEL = r"[a-zA-Z](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"

_DID = re.compile(r"did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]")
_HANDLE = re.compile(rf"(?:{_LABEL}\.)+{_ALPHABETIC_LABEL}")
_NSID = re.compile(rf"{_ALPHABETIC_LABEL}(?:\.{_LABEL})+\.[a-zA-Z][a-zA-Z0-9]{{0,62}}")
_RKEY = re.compile(r"[a-zA-Z0-9._:~-]{1,512}")
_DATETIME = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,20}))?(Z|[+-]\d{2}:\d{2})",
    re.ASCII,
)

_LONGEST_DID = 2048
_LONGEST_HANDLE = 253
_LONGEST_NSID = 317
_LONGEST_AT_URI = 8192


def is_did(text: str) -> bool:
    """Tell whether ``text`` is a DID of any method, at most 2,048 characters."""
    return len(text) <= _LONGEST_DID and _DID.fullmatch(text) is not None


def is_handle(text: str) -> bool:
    """Tell whether ``text`` is a handle: a host name of two or more labels, in either case."""
    return len(text) <= _LONGEST_HANDLE and _HANDLE.fullmatch(text) is not None


def is_nsid(text: str) -> bool:
    """Tell whether ``text`` names a collection, such as ``app.bsky.feed.post``."""
    return len(text) <= _LONGEST_NSID and _NSID.fullmatch(text) is not None


def is_rkey(text: str) -> bool:
    """Tell whether ``text`` may name a record in its collection."""
    return text not in (".", "..") and _RKEY.fullmatch(text) is not None


def is_at_uri(text: str) -> bool:
    """Tell whether ``text`` is ``at://authority[/collection[/rkey]]``, without query or fragment."""
    if len(text) > _LONGEST_AT_URI or not text.startswith("at://"):
        return False
    authority, *path = text[len("at://") :].split("/")
    if not (is_did(authority) or is_handle(authority)) or len(path) > 2:
        return False
    return all(valid(part) for valid, part in zip((is_nsid, is_rkey), path, strict=False))


def is_datetime(text: str) -> bool:
    """Tell whether ``text`` has the form of a datetime. The 45th of a month passes here."""
    return _DATETIME.fullmatch(text) is not None and not text.endswith("-00:00")


def parse_datetime(text: str) -> datetime | None:
    """The instant that ``text`` names, in UTC, cut to microseconds; None where it names none.

    None too for what Python can't hold: leap seconds, the year 0, and beyond 9999.
    """
    match = _DATETIME.fullmatch(text)
    if match is None or text.endswith("-00:00"):
        return None
    seconds, fraction, zone = match.groups()
    try:
        return datetime.fromisoformat(f"{seconds}.{(fraction or '')[:6]:0<6}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
