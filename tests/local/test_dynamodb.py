"""The embedded DynamoDB keeps its tables over kills and restarts, and keeps to this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import psutil
import pytest

from local.dynamodb import EmbeddedDynamoDB
from local.ports import choose_ports
from schemas.errors import LocalServerError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

POST = {"uri": {"S": "at://did:plc:a/app.bsky.feed.post/3k"}, "likes": {"N": "3"}}
KEY = {"uri": POST["uri"]}


@contextmanager
def client(url: str, region: str = "us-east-1") -> Iterator[DynamoDBClient]:
    made = boto3.client(
        "dynamodb",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=region.replace("-", ""),
        aws_secret_access_key="any",
    )
    yield made
    made.close()


async def test_tables_survive_kills_and_restarts(tmp_path: Path) -> None:
    # A folder whose name would break XML if it were not escaped.
    server = EmbeddedDynamoDB(tmp_path / "a & <b>")
    before = await server.start()
    with client(before) as dynamodb:
        dynamodb.create_table(
            TableName="posts",
            KeySchema=[{"AttributeName": "uri", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "uri", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        dynamodb.put_item(TableName="posts", Item=POST)
        with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException):
            dynamodb.put_item(TableName="posts", Item=POST, ConditionExpression="attribute_not_exists(uri)")
    assert server.process is not None
    assert listening_addresses(server.process.pid) == {"127.0.0.1"}
    server.process.kill()

    assert await server.start() == before
    with client(before, region="eu-west-1") as dynamodb:
        assert dynamodb.get_item(TableName="posts", Key=KEY)["Item"] == POST
    await server.stop()

    with socket.create_server(("127.0.0.1", int(before.rpartition(":")[2]))):
        elsewhere = await server.start()
    assert elsewhere != before
    with client(elsewhere) as dynamodb:
        assert dynamodb.get_item(TableName="posts", Key=KEY)["Item"] == POST
    await server.stop()
    assert not server.process.running


async def test_a_port_stolen_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thieves: list[socket.socket] = []

    def choose_and_be_robbed(names: Sequence[str], remembered: dict[str, int]) -> dict[str, int]:
        chosen = choose_ports(names, remembered)
        if not thieves:
            thieves.append(socket.create_server(("127.0.0.1", chosen[names[0]])))
        return chosen

    monkeypatch.setattr("local.server.choose_ports", choose_and_be_robbed)
    server = EmbeddedDynamoDB(tmp_path)
    address = await server.start()
    with thieves[0] as thief:
        assert not address.endswith(f":{thief.getsockname()[1]}")
    await server.stop()


async def test_a_wanted_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalServerError, match=f"port {port}: another program does"):
            await EmbeddedDynamoDB(tmp_path, port=port).start()


async def test_a_refused_start_shows_the_log(tmp_path: Path) -> None:
    server = EmbeddedDynamoDB(tmp_path, heap_mb=1)
    with pytest.raises(LocalServerError, match=r"(?s)DynamoDB Local ended with exit code 1.*maximum heap"):
        await server.start()


def listening_addresses(pid: int | None) -> set[str]:
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.Process(pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
