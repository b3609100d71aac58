"""Holds the stores against what the simulated network served, record by record: CID and JSON.

Nothing here looks at the pipeline's own counts, so it finds out whatever they would hide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow.dataset as ds

from local.network.truth import AccountTruth, RecordTruth
from schemas.settings import DynamoDBSettings
from sinks.items import HASH_KEY, record_text
from sinks.tables import connect

_SHOWN = 5


class Stored(NamedTuple):
    """A record as a store holds it."""

    uri: str
    cid: str
    record: str


@dataclass
class Comparison:
    """What a store holds against what it has to."""

    name: str
    stored: int = 0
    lost: int = 0
    duplicated: int = 0
    different: int = 0
    foreign: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether everything is there, once, and as it was served."""
        return not (self.lost or self.duplicated or self.different or self.foreign)

    def note(self, what: str, uri: str) -> None:
        """Keeps the first few examples."""
        if len(self.examples) < _SHOWN:
            self.examples.append(f"{self.name}: {what}: {uri}")


def compare(name: str, truth: Iterable[RecordTruth], stored: Iterable[Stored]) -> Comparison:
    """Compares a store's records, in any order, with all that it has to hold."""
    result = Comparison(name)
    expected = {record.uri: record for record in truth}
    seen: set[str] = set()
    for row in stored:
        result.stored += 1
        wanted = expected.get(row.uri)
        if row.uri in seen:
            result.duplicated += 1
            result.note("more than once", row.uri)
        elif wanted is None:
            result.foreign += 1
            result.note("was not served", row.uri)
        elif wanted.cid != row.cid or wanted.record != orjson.loads(row.record):
            result.different += 1
            result.note("differs from what was served", row.uri)
        seen.add(row.uri)
    for uri in expected.keys() - seen:
        result.lost += 1
        result.note("lost", uri)
    return result


def records_of(truth: Iterable[AccountTruth]) -> Iterator[RecordTruth]:
    """All records that stores have to hold."""
    for account in truth:
        yield from account.records


def parse_truth(line: bytes) -> AccountTruth:
    """One line of the network's `/_truth`; the host is then a URL."""
    fields: dict[str, Any] = orjson.loads(line)
    for name in ("records", "invalid"):
        fields[name] = [RecordTruth(**record) for record in fields[name]]
    return AccountTruth(**fields)


def parquet_records(folder: Path) -> Iterator[Stored]:
    """All rows of all Parquet files below a folder."""
    files = [str(path) for path in sorted(folder.rglob("*.parquet"))]
    if not files:
        return
    for batch in ds.dataset(files).to_batches(columns=["uri", "cid", "record"]):
        for row in batch.to_pylist():
            yield Stored(row["uri"], row["cid"], row["record"])


def dynamodb_records(settings: DynamoDBSettings, table: str, region: str | None = None) -> Iterator[Stored]:
    """All items of a table."""
    client = connect(settings, region)
    for page in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from map(_stored, page["Items"])


def dynamodb_records_of(
    settings: DynamoDBSettings, table: str, dids: Iterable[str], region: str | None = None
) -> Iterator[Stored]:
    """All items of these accounts. DynamoDB Local sorts the whole table anew for each page of a scan, which
    takes minutes from some hundred thousand items on."""
    client = connect(settings, region)
    pages = client.get_paginator("query")
    for did in dids:
        for page in pages.paginate(
            TableName=table,
            KeyConditionExpression="#did = :did",
            ExpressionAttributeNames={"#did": HASH_KEY},
            ExpressionAttributeValues={":did": {"S": did}},
            ConsistentRead=True,
        ):
            yield from map(_stored, page["Items"])


def dynamodb_items(settings: DynamoDBSettings, table: str, region: str | None = None) -> int:
    """How many items an embedded server's table holds; AWS counts only every six hours."""
    return connect(settings, region).describe_table(TableName=table)["Table"]["ItemCount"]


def _stored(item: dict[str, Any]) -> Stored:
    return Stored(item["uri"]["S"], item["cid"]["S"], record_text(item))
