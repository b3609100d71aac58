"""A message of `records` as a row: what every sink stores.

The fast way here and the models in schemas.records have to agree; whatever the fast way does not recognise
is judged by the models alone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import orjson
from pydantic import Field, TypeAdapter

from atp.syntax import parse_datetime
from schemas.records import RecordEvent, SyncEvent, record_event, record_head

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_US = 253_402_300_799_999_999
"""The end of the year 9999, beyond which neither Python nor Parquet readers can name an instant."""
_instant: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(le=_LAST_US)])
_event: TypeAdapter[RecordEvent | SyncEvent] = TypeAdapter(
    Annotated[RecordEvent | SyncEvent, Field(discriminator="kind")]
)


class Row(NamedTuple):
    """One record, and where in `records` it stands."""

    did: str
    collection: str
    rkey: str
    cid: str
    rev: str
    operation: str
    created_at: str | None
    """The record's own createdAt, whatever text it is."""
    record: str
    """JSON, as the event has it."""
    proof: str
    job: str
    time_us: int
    partition: int
    offset: int
    size: int
    """Bytes of the message."""

    @property
    def uri(self) -> str:
        """The at:// URI."""
        return f"at://{self.did}/{self.collection}/{self.rkey}"

    @property
    def created(self) -> datetime | None:
        """The instant that createdAt names, UTC; None where it names none."""
        return parse_datetime(self.created_at) if self.created_at else None

    @property
    def fetched(self) -> datetime:
        """When the record was fetched, UTC."""
        return _EPOCH + timedelta(microseconds=self.time_us)


class Sync(NamedTuple):
    """The marker that ends a repository; no row."""

    did: str
    job: str


def read(value: bytes | None, partition: int, offset: int) -> Row | Sync:
    """Reads one message. Raises pydantic's ValidationError if it is no event of the topic."""
    try:
        event = orjson.loads(value or b"")
        row = _fast(event, value or b"", partition, offset)
    except (ValueError, KeyError, TypeError, AttributeError):
        row = None
    return row or _judged(value or b"", partition, offset)


def _fast(event: dict[str, Any], value: bytes, partition: int, offset: int) -> Row | None:
    """The row of an event written by `record_event`; None, or any of the errors above, for all else."""
    did, time_us, job, proof, commit = (
        event["did"],
        event["time_us"],
        event["job"],
        event["proof"],
        event["commit"],
    )
    rev, collection, rkey, cid = commit["rev"], commit["collection"], commit["rkey"], commit["cid"]
    # Rebuilding what precedes the record proves the event's form, every type included, and where the
    # record's own bytes begin: parsing it and writing it again would change numbers beyond 64 bits.
    start = record_event(record_head(did, time_us, job, proof, rev), collection, rkey, cid, b"")[:-2]
    record = commit["record"]
    if not (value.startswith(start) and value.endswith(b"}}}") and len(event) == 6 and len(commit) == 6):
        return None
    if not (isinstance(did, str) and isinstance(job, str) and isinstance(rev, str)):
        return None
    if proof not in ("commit", "cid") or type(time_us) is not int or not 0 <= time_us <= _LAST_US:
        return None
    if type(record) is not dict:
        return None
    created_at = record.get("createdAt")
    return Row(
        did,
        collection,
        rkey,
        cid,
        rev,
        "create",
        created_at if isinstance(created_at, str) else None,
        value[len(start) : -2].decode(),
        proof,
        job,
        time_us,
        partition,
        offset,
        len(value),
    )


def _judged(value: bytes, partition: int, offset: int) -> Row | Sync:
    """The same by the models: slower, and the judge of what another producer wrote."""
    event = _event.validate_json(value)
    if isinstance(event, SyncEvent):
        return Sync(event.did, event.job)
    _instant.validate_python(event.time_us)
    commit = event.commit
    created_at = commit.record.get("createdAt")
    return Row(
        event.did,
        commit.collection,
        commit.rkey,
        commit.cid,
        commit.rev,
        commit.operation,
        created_at if isinstance(created_at, str) else None,
        orjson.dumps(commit.record).decode(),
        event.proof,
        event.job,
        event.time_us,
        partition,
        offset,
        len(value),
    )
