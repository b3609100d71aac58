"""`skyfill run` and `skyfill get`: from a document, or from handles, to stored records and an exit code."""

from __future__ import annotations

import csv
import gzip
import json
import re
import signal
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from local.compare import compare, dynamodb_records, parquet_records, records_of
from local.network.truth import RecordTruth
from schemas.settings import DynamoDBSettings
from tests.cli.command import Served, Skyfill, until

SINCE = "2024-06-01"
NORMAL = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def collection(uri: str) -> str:
    return uri.split("/")[3]


def rows(folder: Path) -> list[dict[str, Any]]:
    files = [str(path) for path in folder.rglob("*.parquet")]
    return ds.dataset(files).to_table(columns=["uri", "did", "collection", "created_at"]).to_pylist()


def wanted(record: RecordTruth) -> bool:
    """A like, or a post that is no reply, dated from SINCE on."""
    kind = collection(record.uri)
    if kind != "app.bsky.feed.like" and (kind != "app.bsky.feed.post" or record.record.get("reply")):
        return False
    return bool(record.record["createdAt"] >= SINCE)


def test_get_by_handle_and_did_with_types_and_since(skyfill: Skyfill, network: Served) -> None:
    by_handle, by_did = network.ok(2)
    command = (
        *("get", f"@{network.handle(by_handle)}", by_did.did, "--types", "post,like", "--since", SINCE),
        *("--out", "mine", "--json", "mine.json"),
    )
    ended = skyfill.run(*command)
    assert ended.code == 0, ended
    assert "complete" in ended.out
    assert "Traceback" not in ended.err
    stored = rows(skyfill.folder / "mine")
    assert {row["did"] for row in stored} == {by_handle.did, by_did.did}
    assert {row["collection"] for row in stored} == {"app.bsky.feed.post", "app.bsky.feed.like"}
    served = {record.uri: record for record in records_of([by_handle, by_did])}
    normal = {
        uri for uri, record in served.items() if NORMAL.fullmatch(str(record.record.get("createdAt", "")))
    }
    uris = [row["uri"] for row in stored]
    assert len(uris) == len(set(uris))
    assert set(uris) & normal == {uri for uri in normal if wanted(served[uri])}
    summary = json.loads((skyfill.folder / "mine.json").read_text())
    assert summary["status"]["totals"]["records"] == len(stored)
    assert summary["output"] == [f"Parquet files in {skyfill.folder / 'mine'}"]

    repeated = skyfill.run(*command, "--again")
    assert repeated.code == 0, repeated
    second = json.loads((skyfill.folder / "mine.json").read_text())
    assert (second["job_id"], second["found_final"]) == (f"{summary['job_id']}-2", False)
    assert second["status"]["totals"] == summary["status"]["totals"]


@pytest.mark.timeout(300)
def test_run_from_a_missing_table_over_an_interruption_to_everything_exactly_once(
    skyfill: Skyfill, network: Served, prefix: str, dynamodb: str
) -> None:
    table, accounts = f"{prefix}run", [*network.ok(25), network.one("corrupted")]
    document = skyfill.document(
        "whole",
        source={"type": "inline", "dids": [account.did for account in accounts]},
        processing={"requests_per_second": 2, "max_concurrent_per_pds": 1, "max_retries": 0},
        storage=[{"type": "parquet", "path": "out"}, {"type": "dynamodb", "table_name": table}],
    )
    missing = skyfill.run("run", document, "--workers", 1)
    assert missing.code == 1
    assert f"error: table {table} does not exist; run `skyfill tables create {table}`" in missing.err
    made = skyfill.run("tables", "create", "--config", document)
    assert (made.code, made.out) == (0, f"{table}: made\n")

    running = skyfill.start("run", document, "--workers", 1)
    until(lambda: list((skyfill.folder / "out").rglob("*.parquet")))
    stopped = running.end(signal.SIGTERM)
    assert stopped.code == 128 + signal.SIGTERM, stopped
    assert stopped.out == ""
    assert stopped.err.endswith("Stopped. Run the same command again to go on where it stopped.\n")
    assert 0 < len(list(parquet_records(skyfill.folder / "out"))) < len(list(records_of(accounts)))

    ended = skyfill.run("run", document, "--workers", 1, "--json", "first.json")
    assert ended.code == 2, ended
    expected = list(records_of(accounts))
    items = dynamodb_records(DynamoDBSettings(endpoint_url=dynamodb), table)
    for store in (
        compare("Parquet", expected, parquet_records(skyfill.folder / "out")),
        compare("DynamoDB", expected, items),
    ):
        assert store.exact, store
    first = json.loads((skyfill.folder / "first.json").read_text())
    assert (first["resumed"], first["found_final"], first["restarts"]) == (True, False, 0)
    assert first["status"]["status"] == "partial_success"
    assert first["status"]["totals"]["records"] == len(expected)
    for line in (
        accounts[-1].reason,
        "completed",
        "app.bsky.feed.post",
        f"output: DynamoDB table {table}",
        "this run took ",
    ):
        assert line in ended.out

    [report] = first["reports"]
    assert f"report: {report}, one row for each account" in ended.out
    with gzip.open(report, "rt", newline="") as file:
        listed = {row["did"]: row for row in csv.DictReader(file)}
    assert listed.keys() == {account.did for account in accounts}
    for account in accounts:
        row = listed[account.did]
        ended_as = "completed" if account.state == "ok" else "failed"
        assert (row["status"], row["reason"]) == (ended_as, account.reason)
        assert int(row["records"]) == len(account.records)

    again = skyfill.run("run", document, "--json", "second.json")
    assert again.code == 2
    assert again.out.endswith("This job had ended before; add --again to run it once more.\n")
    second = json.loads((skyfill.folder / "second.json").read_text())
    for told in (first, second):  # that the document came again is told in its history, late or not
        del told["status"]["history"], told["status"]["updated_at"]
    assert (second["found_final"], second["status"]) == (True, first["status"])
    assert second["hosts"] == first["hosts"]
    assert sum(host["counts"]["records"] for host in first["hosts"].values()) == len(expected)


def test_a_job_that_can_not_be_planned_is_exit_code_1(skyfill: Skyfill) -> None:
    document = skyfill.document(
        "failed", source={"type": "file", "path": "nowhere.csv"}, storage={"type": "parquet", "path": "out"}
    )
    ended = skyfill.run("run", document, "--workers", 1)
    assert ended.code == 1, ended
    assert ": error\n" in ended.out
    assert "nowhere.csv" in ended.out
    assert "Traceback" not in ended.out + ended.err
