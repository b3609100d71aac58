"""A row of the PLC directory's log: which DID it is about, and what that account is from then on.

What an operation says is read by `parse_document`, which reads the directory's documents: a mirror and the
directory can't disagree about a spelling. No chain of signatures is verified here: the log is trusted as the
directory's documents are. Sources: web.plc.directory/spec/v0.1/did-plc; rows of /export in both of its modes
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from atp.identity import Identity, parse_document
from atp.syntax import parse_datetime
from schemas.errors import AddressForbidden, IdentityIncomplete, IdentityTombstoned

OVERLAP_MS = 3_600_000
"""How far rows without numbers are read again, since an operation may appear a little after its time."""
_DID = re.compile(r"did:plc:[a-z2-7]{24}")
_SEQUENCED = "sequenced_op"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

Answer = Identity | IdentityTombstoned | IdentityIncomplete | AddressForbidden
"""What a DID leads to. Errors are values here: they are stored like accounts."""


class Operation(NamedTuple):
    """A row. Numbered rows carry no mark of nullification: there the highest number counts."""

    did: str
    seq: int | None
    """Its number in the directory's log; None in the mode that pages by time."""
    created: int
    """When the directory took it, in milliseconds since 1970."""
    nullified: bool
    answer: Answer | None
    """What it makes of the DID, private addresses included; None for a kind of operation not known here."""

    def replaces(self, seq: int | None, created: int) -> bool:
        """Whether this operation counts where that one was held until now.

        The directory takes an operation only as the new head of its DID, so the later one counts, also if it
        nullifies what came before. Rows without numbers say themselves that they were nullified.
        """
        if self.nullified:
            return False
        if self.seq is not None and seq is not None:
            return self.seq >= seq
        return self.created > created or (self.created == created and seq is None)


class Position(NamedTuple):
    """How far a log was read without a gap. ``seq`` is None if that is only known by time."""

    seq: int | None
    created: int
    """Of the last operation, in milliseconds since 1970."""

    def covers(self, operation: Operation) -> bool:
        """Whether the operation was certainly read already."""
        if self.seq is not None and operation.seq is not None:
            return operation.seq <= self.seq
        return operation.created < self.created - OVERLAP_MS

    def reaches(self, operation: Operation) -> bool:
        """Whether certainly nothing lies between here and the operation."""
        if self.seq is not None and operation.seq is not None:
            return operation.seq <= self.seq + 1
        return operation.created <= self.created

    def after(self, operation: Operation) -> Position:
        """The position once the operation was read, too."""
        if operation.seq is None:
            return Position(None, operation.created) if operation.created > self.created else self
        ahead = self.seq is None or operation.seq > self.seq
        return Position(operation.seq, operation.created) if ahead else self


def read_row(line: bytes) -> Operation | None:
    """The operation in a line of /export, in either form; None for rows of other kinds.

    Raises ValueError, saying what is wrong, for what is no row at all.
    """
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    if row.get("type", _SEQUENCED) != _SEQUENCED:
        return None
    did, operation, seq = row.get("did"), row.get("operation"), row.get("seq")
    created = parse_datetime(row["createdAt"]) if isinstance(row.get("createdAt"), str) else None
    if not isinstance(did, str) or not _DID.fullmatch(did):
        raise ValueError(f"not about a did:plc, but {str(did)[:100]!r}")
    if not isinstance(operation, dict) or created is None:
        raise ValueError("without operation or createdAt")
    if seq is not None and (type(seq) is not int or seq < 0):
        raise ValueError(f"the number {str(seq)[:100]!r} is none")
    milliseconds = (created - _EPOCH) // _MILLISECOND
    return Operation(did, seq, milliseconds, row.get("nullified") is True, read_operation(did, operation))


def read_operation(did: str, operation: Mapping[str, Any]) -> Answer | None:
    """What an operation makes of its DID; None if its type is not known here."""
    match operation.get("type"):
        case "plc_operation":
            document = _document(did, operation)
        case "create":
            document = _document(did, _modern(operation))
        case "plc_tombstone":
            return IdentityTombstoned(f"{did} was deleted for good")
        case _:
            return None
    try:
        return parse_document(did, document, allow_private=True)
    except (IdentityIncomplete, AddressForbidden) as error:
        return error


def moment(milliseconds: int) -> str:
    """A time as it is shown: UTC, to the second."""
    return f"{_EPOCH + milliseconds * _MILLISECOND:%Y-%m-%d %H:%M:%S} UTC"


def is_plc(did: str) -> bool:
    """Whether the directory may know this DID."""
    return _DID.fullmatch(did) is not None


def _document(did: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    """The DID document that the directory would write, as far as `parse_document` reads it."""
    key = _part(operation, "verificationMethods").get("atproto")
    service = _part(operation, "services").get("atproto_pds")
    document: dict[str, Any] = {"id": did, "alsoKnownAs": operation.get("alsoKnownAs")}
    if isinstance(key, str):
        multibase = key.removeprefix("did:key:")
        document["verificationMethod"] = [
            {"id": "#atproto", "type": "Multikey", "publicKeyMultibase": multibase}
        ]
    if isinstance(service, dict):
        endpoint = service.get("endpoint")
        document["service"] = [
            {"id": "#atproto_pds", "type": service.get("type"), "serviceEndpoint": endpoint}
        ]
    return document


def _modern(create: Mapping[str, Any]) -> dict[str, Any]:
    """A legacy `create` as the operation that the directory reads it as."""
    handle, service = create.get("handle"), create.get("service")
    modern: dict[str, Any] = {"verificationMethods": {"atproto": create.get("signingKey")}}
    if isinstance(handle, str):
        bare = handle.removeprefix("at://").removeprefix("https://").removeprefix("http://")
        modern["alsoKnownAs"] = [f"at://{bare}"]
    if isinstance(service, str):
        endpoint = service if service.startswith(("http://", "https://")) else f"https://{service}"
        modern["services"] = {"atproto_pds": {"type": "AtprotoPersonalDataServer", "endpoint": endpoint}}
    return modern


def _part(operation: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = operation.get(name)
    return part if isinstance(part, dict) else {}
