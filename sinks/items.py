"""A row as a DynamoDB item, keyed did + collection/rkey.

rev, topic_id, partition and offset say which of two versions of a record is the newer one.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from schemas.errors import ItemKeyInvalid, ItemTooLarge
from sinks.rows import Row

Item = dict[str, dict[str, Any]]
"""Attributes in the low-level form: {"did": {"S": "did:plc:…"}, …}."""

HASH_KEY, RANGE_KEY = "did", "record_key"
ITEM_BYTES = 400 * 1024
_HASH_KEY_BYTES, _RANGE_KEY_BYTES = 2048, 1024

NOT_OLDER = (
    "attribute_not_exists(rev) OR rev < :rev OR "
    "(rev = :rev AND (topic_id <> :topic OR #partition <> :partition OR #offset <= :offset))"
)
"""Condition of a write: what is there must not be newer. The same rev is the same state of the repository;
the later row of one partition is kept then, so writing a row again changes nothing. Revs are TIDs, which
sort as text; repositories of version 2 have "", older than any."""
NOT_OLDER_NAMES = {"#partition": "partition", "#offset": "offset"}


def item(row: Row, topic_id: str) -> Item:
    """The row's item; the record as text, or as gzip where the item would else be too large.

    Raises ItemKeyInvalid, ItemTooLarge. Limits: "Quotas in Amazon DynamoDB".
    """
    made: Item = {
        HASH_KEY: {"S": row.did},
        RANGE_KEY: {"S": f"{row.collection}/{row.rkey}"},
        "collection": {"S": row.collection},
        "rkey": {"S": row.rkey},
        "uri": {"S": row.uri},
        "cid": {"S": row.cid},
        "rev": {"S": row.rev},
        "record": {"S": row.record},
        "proof": {"S": row.proof},
        "job_id": {"S": row.job},
        "topic_id": {"S": topic_id},
        "partition": {"N": str(row.partition)},
        "offset": {"N": str(row.offset)},
        "fetched_at": {"S": _text(row.fetched)},
    }
    if created := row.created:
        made["created_at"] = {"S": _text(created)}
    _check_key(row.did, HASH_KEY, _HASH_KEY_BYTES)
    _check_key(made[RANGE_KEY]["S"], RANGE_KEY, _RANGE_KEY_BYTES)
    size = _size(made)
    if size > ITEM_BYTES:
        text = made.pop("record")["S"]
        made["record_gzip"] = {"B": gzip.compress(text.encode(), mtime=0)}
        if (packed := _size(made)) > ITEM_BYTES:
            raise ItemTooLarge(f"{size} bytes, {packed} compressed; DynamoDB takes {ITEM_BYTES}")
    return made


def condition_values(made: Item) -> Item:
    """The values that NOT_OLDER compares with."""
    return {
        ":rev": made["rev"],
        ":topic": made["topic_id"],
        ":partition": made["partition"],
        ":offset": made["offset"],
    }


def _check_key(value: str, name: str, most: int) -> None:
    if not 0 < len(value.encode()) <= most:
        raise ItemKeyInvalid(f"{name} has {len(value.encode())} bytes; DynamoDB takes 1 to {most}")


def _size(made: Item) -> int:
    """Bytes as DynamoDB counts them, numbers rounded up."""
    total = 0
    for name, typed in made.items():
        (value,) = typed.values()
        total += len(name) + (len(value) if isinstance(value, bytes) else len(value.encode()) + 1)
    return total


def _text(instant: datetime) -> str:
    """One form for all, so that text sorts as time does."""
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


def record_text(stored: Mapping[str, Any]) -> str:
    """The record's JSON text in an item as the table answers it, whichever way it is kept."""
    if "record" in stored:
        return str(stored["record"]["S"])
    return gzip.decompress(stored["record_gzip"]["B"]).decode()
