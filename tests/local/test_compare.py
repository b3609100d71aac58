"""The comparison finds whatever is lost, doubled, changed or made up: nothing else judges the stores."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local.compare import (
    Stored,
    compare,
    dynamodb_items,
    dynamodb_records,
    dynamodb_records_of,
    parquet_records,
    parse_truth,
    records_of,
)
from local.network.faults import Corrupted
from local.network.network import Network
from local.network.truth import RecordTruth
from schemas.settings import DynamoDBSettings
from sinks.items import item
from sinks.rows import Row, read
from sinks.tables import connect, create_table

TRUTH = [RecordTruth(f"at://did:plc:a/app.bsky.feed.post/{n}", f"cid{n}", {"n": n}) for n in range(3)]
STORED = [Stored(r.uri, r.cid, orjson.dumps(r.record).decode()) for r in TRUTH]


def test_all_there_once_in_any_order_is_exact() -> None:
    result = compare("store", TRUTH, reversed(STORED))
    assert (result.exact, result.stored, result.examples) == (True, 3, [])


def test_key_order_and_spaces_of_a_record_do_not_matter() -> None:
    truth = [RecordTruth("at://did:plc:a/x.y.z/1", "cid", {"a": 1, "b": [2]})]
    assert compare("store", truth, [Stored(truth[0].uri, "cid", '{ "b": [2], "a": 1 }')]).exact


@pytest.mark.parametrize(
    ("stored", "figure", "example"),
    [
        (STORED[:2], "lost", f"store: lost: {TRUTH[2].uri}"),
        ([*STORED, STORED[0]], "duplicated", f"store: more than once: {TRUTH[0].uri}"),
        ([*STORED, STORED[0]._replace(uri="at://x")], "foreign", "store: was not served: at://x"),
        ([STORED[0]._replace(cid="cid9"), *STORED[1:]], "different", "differs from what was served"),
        ([STORED[0]._replace(record='{"n":7}'), *STORED[1:]], "different", "differs from what was served"),
    ],
)
def test_each_kind_of_fault_is_counted_alone_and_shown(
    stored: list[Stored], figure: str, example: str
) -> None:
    result = compare("store", TRUTH, stored)
    assert not result.exact
    figures = {name: getattr(result, name) for name in ("lost", "duplicated", "foreign", "different")}
    assert figures == {"lost": 0, "duplicated": 0, "foreign": 0, "different": 0} | {figure: 1}
    assert example in result.examples[0]


def test_only_the_first_examples_are_kept() -> None:
    many = [RecordTruth(f"at://{n}", "c", {}) for n in range(50)]
    result = compare("store", many, [])
    assert (result.lost, len(result.examples)) == (50, 5)


def test_parquet_rows_of_all_folders_below_are_read(tmp_path: Path) -> None:
    for n, row in enumerate(STORED):
        folder = tmp_path / f"partition_date=2024-01-0{n + 1}"
        folder.mkdir()
        pq.write_table(pa.Table.from_pylist([row._asdict() | {"other": n}]), folder / "a.parquet")
    assert sorted(parquet_records(tmp_path)) == STORED
    (tmp_path / "none").mkdir()
    assert list(parquet_records(tmp_path / "none")) == []


async def test_the_truth_that_a_network_serves_is_read_back_as_it_is() -> None:
    faults = [Corrupted(account=1, how="flipped_byte")]
    network = Network(seed=3, accounts=3, hosts=2, records=5, faults=faults)
    for account in network.truth():
        line = orjson.dumps(
            account._asdict()
            | {name: [r._asdict() for r in getattr(account, name)] for name in ("records", "invalid")}
        )
        assert parse_truth(line) == account
    assert {r.uri.split("/")[2] for r in records_of(network.truth())} == {network.dids[0], network.dids[2]}


def test_items_are_found_by_their_accounts_as_by_a_scan(dynamodb: str, prefix: str) -> None:
    settings, table = DynamoDBSettings(endpoint_url=dynamodb), f"{prefix}compared"
    client = connect(settings, None)
    create_table(client, table)
    for did, rkey in (("did:plc:a", "1"), ("did:plc:a", "2"), ("did:plc:b", "1"), ("did:plc:c", "1")):
        row = read(event(did, rkey), 0, 0)
        assert isinstance(row, Row)
        client.put_item(TableName=table, Item=item(row, "0" * 32))
    scanned = sorted(dynamodb_records(settings, table))
    dids = ["did:plc:a", "did:plc:b", "did:plc:nobody"]
    found = list(dynamodb_records_of(settings, table, dids))
    assert [stored.uri for stored in found] == [
        "at://did:plc:a/x.y.z/1",
        "at://did:plc:a/x.y.z/2",
        "at://did:plc:b/x.y.z/1",
    ]
    assert sorted(found) == [stored for stored in scanned if "did:plc:c" not in stored.uri]
    assert dynamodb_items(settings, table) == len(scanned) == 4


def event(did: str, rkey: str) -> bytes:
    commit = {
        "rev": "3l",
        "operation": "create",
        "collection": "x.y.z",
        "rkey": rkey,
        "cid": "cid",
        "record": {},
    }
    return orjson.dumps(
        {"did": did, "time_us": 1, "kind": "commit", "job": "j", "proof": "commit", "commit": commit}
    )
