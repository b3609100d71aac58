"""Rows of a PLC directory's log, in both forms of /export."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from atp.plc import Operation, read_row
from tests.atp.builder import DID, Signer

SIGNER = Signer()
OTHER_KEY = Signer("p256", 11).did_key
PDS = "https://pds.example"
BEGAN = datetime(2023, 5, 1, tzinfo=UTC)


def did(number: int) -> str:
    """One of many DIDs."""
    digits = format(number, "024o").translate(str.maketrans("01", "ab"))
    return f"did:plc:{digits}"


def update(**changed: Any) -> dict[str, Any]:
    """A plc_operation; None removes a field."""
    fields = {
        "type": "plc_operation",
        "rotationKeys": [OTHER_KEY],
        "verificationMethods": {"atproto": SIGNER.did_key},
        "alsoKnownAs": ["at://alice.example"],
        "services": {"atproto_pds": {"type": "AtprotoPersonalDataServer", "endpoint": PDS}},
        "prev": None,
        "sig": "sig",
    }
    return {name: value for name, value in (fields | changed).items() if value is not None}


def moved(host: str) -> dict[str, Any]:
    """A plc_operation that names another PDS."""
    return update(services={"atproto_pds": {"type": "AtprotoPersonalDataServer", "endpoint": host}})


TOMBSTONE = {"type": "plc_tombstone", "prev": "bafy", "sig": "sig"}
LEGACY = {
    "type": "create",
    "signingKey": SIGNER.did_key,
    "recoveryKey": OTHER_KEY,
    "handle": "alice.example",
    "service": "pds.example",
    "prev": None,
    "sig": "sig",
}


def line(operation: Any, at: float, *, of: str = DID, **more: Any) -> bytes:
    """A row ``at`` seconds after the log began, with ``seq`` or ``nullified``."""
    created = (BEGAN + timedelta(seconds=at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    row = {"did": of, "operation": operation, "cid": "bafy", "createdAt": created, **more}
    return json.dumps(row).encode()


def numbered(operation: Any, seq: int, *, of: str = DID, at: float | None = None) -> bytes:
    """A row of the numeric mode."""
    return line(operation, seq if at is None else at, of=of, type="sequenced_op", seq=seq)


def timed(operation: Any, at: float, *, of: str = DID, nullified: bool = False) -> bytes:
    """A row of the mode by time."""
    return line(operation, at, of=of, nullified=nullified)


def read(lines: Iterable[bytes]) -> list[Operation]:
    """All of them are rows."""
    rows = [read_row(row) for row in lines]
    return [row for row in rows if row is not None]
