"""The DynamoDB sink against a real broker and a real DynamoDB Local."""

from __future__ import annotations

import gzip
import random
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from messaging.crash import EXIT_CODE
from schemas.errors import ItemKeyInvalid, ItemTooLarge, SinkError
from schemas.settings import DynamoDBSettings, Settings
from sinks import tables
from sinks.dynamodb import run_dynamodb_sink
from sinks.items import ITEM_BYTES, item
from sinks.rows import Row
from tests.sinks.contract import SinkContract
from tests.sinks.deployment import CID, REV, Deployment, Sent, accounts

NEWER = "3l3qo2vutsw2c"


class TestDynamoDBSink(SinkContract):
    kind = "dynamodb"
    store = "sinks.table_writer:TableWriter._insert", "sinks.table_writer:TableWriter._insert"
    add = "sinks.dynamodb:DynamoDBSink.add"

    @pytest.fixture(autouse=True)
    def _place(self, kafka: str, dynamodb: str, prefix: str) -> Iterator[None]:
        self.kafka, self.prefix, self.endpoint = kafka, prefix, dynamodb
        self.deployment = Deployment(kafka, prefix, dynamodb=dynamodb)
        self.client = tables.connect(DynamoDBSettings(endpoint_url=dynamodb))
        yield
        self.client.close()

    @staticmethod
    def run(settings: Settings, stop: threading.Event) -> None:
        run_dynamodb_sink(settings, stop)

    def storage(self, name: str) -> dict[str, Any]:
        tables.create_table(self.client, self.prefix + name)
        return {"type": "dynamodb", "table_name": self.prefix + name}

    def items(self, name: str) -> list[dict[str, Any]]:
        pages = self.client.get_paginator("scan").paginate(TableName=self.prefix + name, ConsistentRead=True)
        return [dict(item) for page in pages for item in page["Items"]]

    def stored(self, name: str) -> list[Sent]:
        return [Sent(i["did"]["S"], i["record_key"]["S"], i["rev"]["S"]) for i in self.items(name)]

    def unhurried(self) -> Deployment:
        return Deployment(self.kafka, self.prefix, dynamodb=self.endpoint, flush_seconds=3600)

    def test_an_item_says_all_that_the_row_said(self) -> None:
        self.deployment.start_job("j", self.storage("one"))
        self.deployment.send("j", ["did:plc:a"], 1, record={"createdAt": "2024-02-03T04:05:06+01:00", "n": 1})
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
        (found,) = self.items("one")
        assert found.pop("fetched_at")["S"].endswith("Z")
        assert len(found.pop("topic_id")["S"]) == 32
        assert found == {
            "did": {"S": "did:plc:a"},
            "record_key": {"S": "app.bsky.feed.post/0000000000000"},
            "collection": {"S": "app.bsky.feed.post"},
            "rkey": {"S": "0000000000000"},
            "uri": {"S": "at://did:plc:a/app.bsky.feed.post/0000000000000"},
            "cid": {"S": CID},
            "rev": {"S": REV},
            "created_at": {"S": "2024-02-03T03:05:06.000000Z"},
            "record": {"S": '{"createdAt":"2024-02-03T04:05:06+01:00","n":1}'},
            "proof": {"S": "commit"},
            "job_id": {"S": "j"},
            "partition": {"N": str(self.deployment.partition("did:plc:a"))},
            "offset": {"N": "0"},
        }

    def test_a_newer_version_replaces_an_older_one_and_never_the_reverse(self) -> None:
        for job in ("j1", "j2", "j3"):
            self.deployment.start_job(job, self.storage("one"))
        self.deployment.send("j1", accounts(3), 2)
        newer = self.deployment.send("j2", accounts(3), 2, rev=NEWER)
        self.deployment.send("j3", accounts(3), 2)
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
        self.assert_stored("one", newer)

    @pytest.mark.parametrize(
        "strike",
        [
            ("sinks.table_writer:TableWriter._insert", "before", "1"),
            # The batch is signed; before it the table and the account were asked for.
            ("botocore.auth:SigV4Auth.add_auth", "after", "3"),
            ("botocore.httpsession:URLLib3Session.send", "before", "3"),
        ],
    )
    def test_a_write_that_stood_still_never_replaces_what_came_meanwhile(
        self, strike: tuple[str, str, str], start: Callable[..., subprocess.Popen[bytes]]
    ) -> None:
        """It may be stopped after all that it checks itself: the table has to refuse what is older."""
        for job in ("j1", "j2"):
            self.deployment.start_job(job, self.storage("one"))
        self.deployment.send("j1", accounts(1), 5)
        first = start(*strike, "STOP")
        assert first.stdout is not None
        assert first.stdout.readline() == b"struck\n"
        start()
        self.deployment.drain(self.kind)
        newer = self.deployment.send("j2", accounts(1), 5, rev=NEWER)
        self.deployment.drain(self.kind)
        self.assert_stored("one", newer)
        first.send_signal(signal.SIGCONT)
        assert first.wait(60) == EXIT_CODE
        self.assert_stored("one", newer)

    def test_large_records_are_compressed_and_hopeless_ones_are_dead_letters(self) -> None:
        self.deployment.start_job("j", self.storage("one"))
        noise = random.Random(1).randbytes(500_000).hex()  # compresses to half
        sent = self.deployment.send("j", ["did:plc:large"], 1, record={"text": "x" * 1_000_000})
        self.deployment.send("j", ["did:plc:hopeless"], 1, record={"text": noise})
        sent += self.deployment.send("j", accounts(3), 2)
        for _ in range(2):
            with self.deployment.running(self.run) as alive:
                self.deployment.drain(self.kind, alive)
        self.assert_stored("one", sent)
        (large,) = (found for found in self.items("one") if found["did"]["S"] == "did:plc:large")
        assert "record" not in large
        assert gzip.decompress(large["record_gzip"]["B"]) == b'{"text":"%b"}' % (b"x" * 1_000_000)
        (letter,) = self.deployment.dead_letters()
        assert (letter.stage, letter.error_type, letter.reason) == ("sink", "sink_failed", "ItemTooLarge")
        assert letter.uri == "at://did:plc:hopeless/app.bsky.feed.post/0000000000000"
        assert noise in (letter.payload or "")

    def test_a_missing_table_is_named_and_nothing_is_committed(self) -> None:
        table = self.prefix + "missing"
        self.deployment.start_job("j", {"type": "dynamodb", "table_name": table})
        sent = self.deployment.send("j", accounts(3), 2)
        with (
            pytest.raises(SinkError, match=f"run `skyfill tables create {table}`"),
            self.deployment.running(self.run) as alive,
        ):
            self.deployment.drain(self.kind, alive)
        tables.create_table(self.client, table)
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
        self.assert_stored("missing", sent)

    def test_an_embedded_servers_sink_makes_its_tables(self) -> None:
        self.deployment.start_job("j", {"type": "dynamodb", "table_name": self.prefix + "made"})
        sent = self.deployment.send("j", accounts(3), 2)
        with self.deployment.running(partial(run_dynamodb_sink, create_tables=True)) as alive:
            self.deployment.drain(self.kind, alive)
        self.assert_stored("made", sent)


def test_a_table_is_made_once_billed_on_demand(dynamodb: str, prefix: str) -> None:
    client = tables.connect(DynamoDBSettings(endpoint_url=dynamodb))
    assert not tables.table_exists(client, f"{prefix}t")
    assert tables.create_table(client, f"{prefix}t")
    assert not tables.create_table(client, f"{prefix}t")
    found = client.describe_table(TableName=f"{prefix}t")["Table"]
    assert found["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    client.close()


def test_a_table_with_other_keys_is_refused(dynamodb: str, prefix: str) -> None:
    client = tables.connect(DynamoDBSettings(endpoint_url=dynamodb))
    client.create_table(
        TableName=f"{prefix}other",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(SinkError, match=r"has the keys \[\('id', 'HASH'\)\]"):
        tables.create_table(client, f"{prefix}other")
    client.close()


def test_a_server_that_is_not_there_is_explained() -> None:
    client = tables.connect(DynamoDBSettings(endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(SinkError, match="SKYFILL_DYNAMODB__ENDPOINT_URL"):
        tables.table_exists(client, "t")
    client.close()


def test_a_missing_region_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(SinkError, match="region"):
        tables.connect(DynamoDBSettings())


def row(**changes: Any) -> Row:
    made = Row("did:plc:a", "a.b.c", "k", CID, REV, "create", None, "{}", "commit", "j", 5, 0, 7, 9)
    return made._replace(**changes)


def test_the_largest_item_that_is_not_compressed_is_taken_and_so_is_the_largest_compressed(
    dynamodb: str, prefix: str
) -> None:
    client = tables.connect(DynamoDBSettings(endpoint_url=dynamodb))
    tables.create_table(client, f"{prefix}t")
    most = next(n for n in range(ITEM_BYTES, 0, -1) if "record" in item(row(record="x" * n), "0" * 32))
    assert most > ITEM_BYTES - 600
    client.put_item(TableName=f"{prefix}t", Item=item(row(record="x" * most), "0" * 32))
    assert "record_gzip" in item(row(record="x" * (most + 1)), "0" * 32)
    oversized = item(row(record="x" * most), "0" * 32) | {"more": {"S": "x" * 600}}
    with pytest.raises(ClientError, match="maximum allowed size"):
        client.put_item(TableName=f"{prefix}t", Item=oversized)
    client.close()


def test_keys_that_dynamodb_can_not_hold_are_refused() -> None:
    for changes in ({"did": ""}, {"did": "d" * 2049}, {"rkey": "k" * 1024}):
        with pytest.raises(ItemKeyInvalid):
            item(row(**changes), "0" * 32)
    with pytest.raises(ItemTooLarge):
        item(row(record=random.Random(1).randbytes(500_000).hex()), "0" * 32)
