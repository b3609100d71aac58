"""Objects in S3, on a real server: under the contract, and when they are replaced, removed or forbidden."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from aiohttp import web

from producers.sources import AccountSource
from producers.sources.s3 import S3Accounts, S3Object, _Ranges
from schemas.errors import SourceError
from tests.atp.hosts import serving
from tests.producers.deployment import did
from tests.producers.sources.contract import MANY, PAGE, SourceContract, Stand
from tests.producers.sources.stand import accounts, reach_of, read, read_some, refusal, source_of
from tests.producers.sources.test_lists import content, mixed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OBJECTS = ["list/a.csv.gz", "list/b.parquet", "list/c.jsonl.zst"]


class S3Stand(Stand):
    """A bucket whose objects below `list/` have the accounts, in several forms."""

    malformed = "blank"

    def __init__(self, folder: Path, endpoint: str, client: S3Client, bucket: str) -> None:
        self._folder, self.endpoint, self.client, self.bucket = folder, endpoint, client, bucket
        self.path = f"s3://{bucket}/list/"

    def write(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    async def put(self, names: Sequence[str], malformed: int = 0) -> None:
        third = len(names) // 3
        parts = [names[:third], names[third : 2 * third], names[2 * third :]]
        for number, (key, part) in enumerate(zip(OBJECTS, parts, strict=True)):
            rows = mixed(part, malformed if number == 1 else 0, "")
            self.write(key, content(key, rows))

    async def take_away(self) -> None:
        listed = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        for found in listed:
            self.client.delete_object(Bucket=self.bucket, Key=found["Key"])

    async def spoil(self) -> None:
        self.write(OBJECTS[0], b"\x1f\x8b nothing that anybody could read")

    def source(self, page: int = PAGE, **keys: str) -> AccountSource:
        section = {"type": "s3", "path": self.path, "region": "us-east-1", **keys}
        return source_of(section, reach_of(self._folder, s3=self.endpoint), page=page)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any do here; nothing of this machine's own may be asked for them."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def stand(tmp_path: Path, s3: str, prefix: str, credentials: None) -> Iterator[S3Stand]:
    client = boto3.client("s3", endpoint_url=s3, region_name="us-east-1")
    bucket = prefix.rstrip(".")
    client.create_bucket(Bucket=bucket)
    yield S3Stand(tmp_path, s3, client, bucket)
    client.close()


class TestS3(SourceContract):
    pass


async def test_one_object_or_all_that_begin_alike(stand: S3Stand) -> None:
    stand.write("one", content("one", MANY[:3]))
    stand.write("one-more.csv", content("one-more.csv", MANY[3:6]))
    stand.write("one/deeper.txt", content("deeper.txt", MANY[6:9]))
    stand.write("one/_SUCCESS", b"1")
    stand.write("one/.part.crc", b"\xff\xff")
    stand.write("one/empty.txt", b"")
    for path, wanted in (
        ("one", MANY[:3]),
        ("one-", MANY[3:6]),
        ("one/", MANY[6:9]),
        ("on", MANY[:9]),
        ("", MANY[:9]),
    ):
        stand.path = f"s3://{stand.bucket}/{path}"
        assert sorted(accounts(await read(stand.source().pages()))) == sorted(wanted), path
    stand.path = f"s3://{stand.bucket}"
    assert len(accounts(await read(stand.source().pages()))) == 9


async def test_a_format_and_a_column_may_be_named(stand: S3Stand) -> None:
    stand.write("list/part-0", f"n,who\n1,{MANY[0]}\n".encode())
    assert accounts(await read(stand.source(format="csv", column="who").pages())) == MANY[:1]
    assert "part-0 has no column did or handle" in await refusal(stand.source(format="csv"))
    stand.write("list/part-0.xml", b"<x/>")
    assert "its name does not tell" in await refusal(stand.source())


async def test_more_objects_than_one_answer_lists(stand: S3Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.sources.s3._LIST_KEYS", 2)
    for number, name in enumerate(MANY[:7]):
        stand.write(f"list/{number}.txt", name.encode())
    pages = await read(stand.source().pages())
    assert accounts(pages) == MANY[:7]
    assert accounts(await read(stand.source().pages(pages[4].cursor))) == MANY[5:7]


async def test_a_large_object_is_read_in_ranges(stand: S3Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.sources.s3._RANGE_BYTES", 4096)
    names = [did(number) for number in range(20_000)]
    for key in ("list/large.txt", "list/large.parquet"):
        stand.path = f"s3://{stand.bucket}/{key}"
        stand.write(key, content(key, names))
        pages = await read(stand.source(500).pages())
        assert accounts(pages) == names
        rest = await read(stand.source(500).pages(pages[20].cursor))
        assert accounts(rest) == names[21 * 500 :]


async def test_an_object_that_was_replaced_is_refused(stand: S3Stand) -> None:
    await stand.put(MANY)
    pages = await read(stand.source().pages())
    stand.write(OBJECTS[1], content(OBJECTS[1], MANY))
    cursors = {page.cursor for page in pages if OBJECTS[1] in page.cursor}
    assert cursors
    for cursor in cursors:
        assert f"{OBJECTS[1]} was replaced while its job was being planned" in await refusal(
            stand.source(), cursor
        )
    again = stand.source().again(pages[-1].cursor)
    assert again is not None  # the last object is as it was; those before it were read before it was replaced
    assert len(accounts(await read(again))) > len(MANY)


async def test_an_object_that_was_removed_is_refused(stand: S3Stand) -> None:
    await stand.put(MANY)
    pages = await read(stand.source().pages())
    stand.client.delete_object(Bucket=stand.bucket, Key=OBJECTS[2])
    assert f"{OBJECTS[2]} was removed" in await refusal(stand.source(), pages[-1].cursor)


async def test_an_object_that_is_replaced_while_it_is_read_is_refused(
    stand: S3Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.sources.s3._RANGE_BYTES", 100)
    stand.path = f"s3://{stand.bucket}/one.txt"
    many = [did(number) for number in range(1000)]
    stand.write("one.txt", content("one.txt", many))
    pages = stand.source().pages()
    await anext(pages)
    stand.write("one.txt", content("one.txt", many[::-1]))
    with pytest.raises(SourceError, match=r"one\.txt: the object was replaced"):
        await read(pages)


async def test_a_bucket_that_is_not_there_is_named(stand: S3Stand) -> None:
    stand.path = f"s3://{stand.bucket}x/list"
    assert await refusal(stand.source()) == f"{stand.path}: there is no such bucket; correct source.path"
    stand.path = f"s3://{stand.bucket}/nothing"
    assert "no object has this key or one that begins with it" in await refusal(stand.source())


async def test_a_server_that_is_away_is_named(stand: S3Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.sources.s3._CONFIG", boto_config())
    told = await refusal(stand.source(endpoint_url="http://127.0.0.1:9"))
    assert "can't be read: Could not connect to the endpoint URL" in told


def boto_config() -> object:
    from botocore.config import Config

    return Config(retries={"total_max_attempts": 1}, connect_timeout=1)


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("AccessDenied", 403, "may list the bucket and read the object"),
        ("ExpiredToken", 400, "the AWS credentials have expired"),
        ("InvalidAccessKeyId", 403, "the AWS credentials are not known there"),
        ("PermanentRedirect", 400, "set source.region"),
        ("Strange", 400, "Strange: so it is"),
    ],
)
async def test_refusals_of_the_server_say_what_to_do(
    tmp_path: Path, code: str, status: int, told: str
) -> None:
    """SeaweedFS without users refuses nobody, so here a server says what AWS would."""
    body = f"<Error><Code>{code}</Code><Message>so it is</Message></Error>"

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(text=body, status=status, content_type="application/xml")

    async with serving(refuse) as host:  # type: ignore[arg-type]
        section = {"type": "s3", "path": "s3://bucket/key", "region": "eu-west-1"}
        assert told in await refusal(source_of(section, reach_of(tmp_path, s3=host.url)))


async def test_a_server_that_does_not_heed_the_wanted_version_is_noticed(tmp_path: Path) -> None:
    """Not all that speaks S3's protocol knows If-Match on reads."""
    listed = (
        "<ListBucketResult><Contents><Key>one.txt</Key><ETag>&quot;old&quot;</ETag><Size>9</Size></Contents>"
        "</ListBucketResult>"
    )

    async def answer(request: web.Request) -> web.Response:
        if "list-type" in request.query:
            return web.Response(text=listed, content_type="application/xml")
        assert request.headers["If-Match"] == '"old"'
        return web.Response(body=b"did:plc:x", status=206, headers={"ETag": '"new"'})

    async with serving(answer) as host:  # type: ignore[arg-type]
        section = {"type": "s3", "path": "s3://bucket/one.txt", "region": "eu-west-1"}
        told = await refusal(source_of(section, reach_of(tmp_path, s3=host.url)))
        assert told.startswith("s3://bucket/one.txt: the object was replaced")


async def test_without_credentials_it_says_where_they_belong(
    stand: S3Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    await stand.put(MANY)
    assert "set AWS_ACCESS_KEY_ID" in await refusal(stand.source())


async def test_credentials_of_its_own_are_used_and_named_where_they_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"] + request.headers["X-Amz-Security-Token"])
        return web.Response(status=403)

    references = {"access_key_id": "${env:OWN_ID}", "secret_access_key": "${env:OWN_KEY}"}
    section = {"type": "s3", "path": "s3://bucket/one.txt", "region": "eu-west-1", **references}
    async with serving(answer) as host:  # type: ignore[arg-type]
        source = source_of(section | {"session_token": "${env:OWN_TOKEN}"}, reach_of(tmp_path, s3=host.url))
        told = await refusal(source)
        assert told.startswith("s3://bucket/one.txt can't be read: ${env:OWN_ID}: the environment variable")
        for name in ("OWN_ID", "OWN_KEY", "OWN_TOKEN"):
            monkeypatch.setenv(name, f"canary-{name}")
        told = await refusal(source)
        assert isinstance(source, S3Accounts)
        assert source._client is not None
        source._client.close()
    assert "access is denied" in told
    assert "canary" not in told
    assert "Credential=canary-OWN_ID/" in seen[0]
    assert seen[0].endswith("canary-OWN_TOKEN")


async def test_a_section_that_no_client_can_be_made_of(stand: S3Stand) -> None:
    assert "can't be read" in await refusal(stand.source(endpoint_url="http://"))
    assert "can't be read" in await refusal(stand.source(region="not a region"))


async def test_dropped_in_the_midst_of_a_range_it_waits_for_its_end(stand: S3Stand) -> None:
    await stand.put(MANY)
    assert len(await read_some(stand.source(), 2)) == 2


def test_ranges_are_a_file(stand: S3Stand) -> None:
    stand.write("one.txt", b"0123456789")
    source = stand.source()
    assert isinstance(source, S3Accounts)
    etag = stand.client.head_object(Bucket=stand.bucket, Key="one.txt")["ETag"]
    with io.BufferedReader(_Ranges(source, S3Object("one.txt", etag, 10)), 4) as file:
        assert file.read(3) == b"012"
        assert file.seek(-2, io.SEEK_END) == 8
        assert file.read() == b"89"
        assert file.read() == b""
        file.seek(2)
        file.seek(1, io.SEEK_CUR)
        assert file.read(1) == b"3"
