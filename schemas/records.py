"""Topic `records`: one event per record, keyed by DID, in the shape that Jetstream made common.

A repository's events end with a sync marker in the same transaction. The hot path writes these bytes by hand
(`record_head`); the models say what they mean and are what tests and JSON Schemas hold against them.
"""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict

from schemas.message import Count

Proof = Literal["commit", "cid"]


class RecordCommit(BaseModel):
    """One record as it stood in the repository at `rev`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rev: str
    operation: Literal["create"]
    collection: str
    rkey: str
    cid: str
    record: dict[str, Any]


class RecordEvent(BaseModel):
    """A record. `time_us`: when it was fetched, in microseconds since 1970. `proof`: how it was verified."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    did: str
    time_us: Count
    kind: Literal["commit"]
    job: str
    proof: Proof
    commit: RecordCommit


class SyncMarker(BaseModel):
    """What `sync` says of the repository just published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rev: str
    records: Count
    selection: str
    since: str | None = None
    """Absent: the marker is complete, the account's selected records are those of this repository. Else only
    what is new after that rev precedes it, as operations on the state that was there; deletions are not."""


class SyncEvent(BaseModel):
    """The end of one repository: its selected records precede it in this partition; all, unless `since`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    did: str
    time_us: Count
    kind: Literal["sync"]
    job: str
    sync: SyncMarker


def record_head(did: str, time_us: int, job: str, proof: Proof, rev: str) -> bytes:
    """The part of an event that all records of a repository share, up to the collection's value."""
    head = orjson.dumps(
        {"did": did, "time_us": time_us, "kind": "commit", "job": job, "proof": proof, "commit": {"rev": rev}}
    )
    return head[:-2] + b',"operation":"create","collection":"'


def record_event(head: bytes, collection: str, rkey: str, cid: str, record: bytes) -> bytes:
    """One event. Collection, rkey and cid hold no character that JSON escapes: their syntax is checked."""
    return b'%b%b","rkey":"%b","cid":"%b","record":%b}}' % (
        head,
        collection.encode(),
        rkey.encode(),
        cid.encode(),
        record,
    )


def sync_event(
    did: str, time_us: int, job: str, rev: str, records: int, selection: str, since: str | None = None
) -> bytes:
    """The marker that ends a repository, or with `since` what came to it after that rev."""
    sync: dict[str, Any] = {"rev": rev, "records": records, "selection": selection}
    if since is not None:
        sync["since"] = since
    return orjson.dumps({"did": did, "time_us": time_us, "kind": "sync", "job": job, "sync": sync})
