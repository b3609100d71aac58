"""Accounts from objects in S3: one, or all whose keys begin alike, in any form that a file may have.

Objects are read in ranges, so that a plan which pauses for hours holds no connection open, and each range
must be of the object that was first seen: its ETag tells when somebody replaced it.
"""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import boto3
import orjson
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from producers.sources.base import AccountSource, Page
from producers.sources.formats import form_of, read_accounts
from producers.sources.listed import LIST_PAGE, SKIPPED_AT_ONCE, Place, Reading, page_of, require_same
from producers.sources.threads import in_thread
from schemas.errors import ConfigError, SourceError
from schemas.secrets import MASKED, aws_credentials, mask
from schemas.settings import S3Settings
from schemas.sources import S3Source

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_RANGE_BYTES = 4 * 2**20
_LIST_KEYS = 1000
_CONFIG = Config(
    retries={"max_attempts": 6, "mode": "standard"},
    connect_timeout=10,
    read_timeout=30,
    # Not all that speaks S3's protocol knows its newer checksums.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
_CODES = {
    "NoSuchBucket": "there is no such bucket; correct source.path",
    "NoSuchKey": "the object was removed while its job was being planned; submit a new job",
    "404": "the object was removed while its job was being planned; submit a new job",
    "PreconditionFailed": "the object was replaced while its job was being planned; submit a new job",
    "412": "the object was replaced while its job was being planned; submit a new job",
    "AccessDenied": "access is denied; see that the AWS credentials may list the bucket and read the object",
    "403": "access is denied; see that the AWS credentials may list the bucket and read the object",
    "InvalidAccessKeyId": "the AWS credentials are not known there",
    "SignatureDoesNotMatch": "the AWS credentials are not accepted there",
    "ExpiredToken": "the AWS credentials have expired; renew them and submit the job under another id",
    "PermanentRedirect": "the bucket is in another region; set source.region",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set source.region",
}


class S3Object(NamedTuple):
    """An object as the bucket lists it."""

    key: str
    etag: str
    size: int


class S3Accounts(AccountSource):
    """The rows of the object, or of all objects one after the other as the bucket lists them.

    A cursor names the object, its ETag, and how far it was read.
    """

    def __init__(self, source: S3Source, settings: S3Settings, page_entries: int = LIST_PAGE) -> None:
        super().__init__(page_entries)
        self._source, self._settings = source, settings
        self._bucket, _, self._key = source.path.removeprefix("s3://").partition("/")
        self._client: S3Client | None = None

    @property
    def name(self) -> str:
        return self._source.path

    async def _pages(self, after: str | None) -> AsyncGenerator[Page, None]:
        key, etag, *counted = orjson.loads(after) if after is not None else (None, "", 0, 0)
        async with aclosing(self._objects(key)) as objects:
            async for found, reading in objects:
                if found.key == key:
                    await self._reach(reading, found, etag, Place(*counted))
                while not reading.ended:
                    taken = await in_thread(partial(reading.take, self.page_entries))
                    if taken or reading.blank:
                        cursor = orjson.dumps([found.key, found.etag, *reading.place]).decode()
                        yield page_of(taken, reading.blank, cursor)

    async def again(self, until: str) -> AsyncGenerator[Page, None]:
        """See AccountSource."""
        key, etag, *counted = orjson.loads(until)
        wanted = Place(*counted)
        async with aclosing(self._objects(None)) as objects:
            async for found, reading in objects:
                last = found.key == key
                end = wanted.rows if last else None
                while not reading.ended and reading.place.rows != end:
                    taken = await in_thread(partial(reading.take, self.page_entries, end))
                    yield page_of(taken, 0, until)
                if last:
                    await self._reach(reading, found, etag, wanted)
                    return

    async def _reach(self, reading: Reading, found: S3Object, etag: str, wanted: Place) -> None:
        """Reads on to a place in an object. Raises SourceError if it is not the object of that place."""
        name = f"s3://{self._bucket}/{found.key}"
        if found.etag != etag:
            raise SourceError(f"{name} was replaced while its job was being planned; submit a new job")
        while not reading.ended and reading.place.rows < wanted.rows:
            await in_thread(partial(reading.take, SKIPPED_AT_ONCE, wanted.rows))
        require_same(reading, wanted, name)

    async def _objects(self, start: str | None) -> AsyncGenerator[tuple[S3Object, Reading], None]:
        """The objects from that key on, each with a reading of it that ends with its turn."""
        met = start is None
        listed = self._listed()
        while (found := await in_thread(partial(next, listed, None))) is not None:
            met = met or found.key == start
            if not met:
                continue
            reading = Reading(self._entries(found))
            try:
                yield found, reading
            finally:
                reading.close()
        if not met:
            raise SourceError(
                f"s3://{self._bucket}/{start} was removed while its job was being planned; submit a new job"
            )

    def _listed(self) -> Iterator[S3Object]:
        """The object of this very key; without one, those whose keys begin with it, hidden ones left out."""
        client = self._connect()
        exact = self._ask(client.list_objects_v2, Bucket=self._bucket, Prefix=self._key, MaxKeys=1)
        first = next(iter(exact.get("Contents", ())), None)
        if first is not None and first.get("Key") == self._key:
            yield _object(first)
            return
        more: dict[str, Any] = {}
        empty = True
        while True:
            page = self._ask(
                client.list_objects_v2, Bucket=self._bucket, Prefix=self._key, MaxKeys=_LIST_KEYS, **more
            )
            for found in map(_object, page.get("Contents", ())):
                if found.size and not found.key.rpartition("/")[2].startswith(("_", ".")):
                    empty = False
                    yield found
            if not page.get("IsTruncated"):
                break
            more = {"ContinuationToken": page["NextContinuationToken"]}
        if empty:
            raise SourceError(f"{self.name}: no object has this key or one that begins with it")

    def _entries(self, found: S3Object) -> Generator[str | None, None, None]:
        name = f"s3://{self._bucket}/{found.key}"
        form = form_of(found.key, name, self._source.format)
        with io.BufferedReader(_Ranges(self, found)) as file:
            yield from read_accounts(cast(IO[bytes], file), form, name, self._source.column)

    def read_range(self, found: S3Object, begin: int, end: int) -> bytes:
        """Bytes of an object, `end` not included. Raises SourceError if it is another one by now."""
        answer = self._ask(
            self._connect().get_object,
            Bucket=self._bucket,
            Key=found.key,
            Range=f"bytes={begin}-{end - 1}",
            IfMatch=found.etag,
        )
        if answer["ETag"] != found.etag:
            raise SourceError(f"s3://{self._bucket}/{found.key}: {_CODES['PreconditionFailed']}")
        return cast(bytes, self._ask(answer["Body"].read))

    def _connect(self) -> S3Client:
        if self._client is None:
            endpoint = self._source.endpoint_url or self._settings.endpoint_url
            config = _CONFIG.merge(Config(s3={"addressing_style": "path"})) if endpoint else _CONFIG
            try:
                # A session of its own: the common one is not made for threads, and remembers credentials.
                self._client = boto3.session.Session().client(
                    "s3",
                    endpoint_url=endpoint,
                    region_name=self._source.region,
                    config=config,
                    **aws_credentials(self._source),
                )
            except (BotoCoreError, ValueError, ConfigError) as error:
                raise SourceError(f"{self.name} can't be read: {error}") from error
        return self._client

    def _ask(self, function: Any, **arguments: Any) -> Any:
        try:
            return function(**arguments)
        except ClientError as error:
            said = error.response.get("Error", {})
            why = _CODES.get(said.get("Code", "")) or self._masked(
                f"{said.get('Code')}: {said.get('Message')}"
            )
            place = f"s3://{self._bucket}/{arguments['Key']}" if "Key" in arguments else self.name
            raise SourceError(f"{place}: {why}") from error
        except NoCredentialsError as error:
            raise SourceError(
                f"{self.name} can't be read without AWS credentials; set AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, where the planner runs"
            ) from error
        except (BotoCoreError, OSError) as error:
            raise SourceError(f"{self.name} can't be read: {self._masked(str(error))}") from error

    def _masked(self, said: str) -> str:
        """What a server says may repeat what it was sent."""
        for value in aws_credentials(self._source).values():
            said = said.replace(value, MASKED)
        return mask(said)


class _Ranges(io.RawIOBase):
    """An object as a file that can be read and sought in, a large piece of it at a time."""

    def __init__(self, source: S3Accounts, found: S3Object) -> None:
        self._source, self._found = source, found
        self._at = 0
        self._piece, self._piece_at = b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._found.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """From the piece that is there, as far as it goes; else from the next one."""
        if self._at >= self._found.size:
            return 0
        inside = self._at - self._piece_at
        if not 0 <= inside < len(self._piece):
            end = min(self._at + max(len(buffer), _RANGE_BYTES), self._found.size)
            self._piece = self._source.read_range(self._found, self._at, end)
            self._piece_at, inside = self._at, 0
        read = self._piece[inside : inside + len(buffer)]
        buffer[: len(read)] = read
        self._at += len(read)
        return len(read)


def _object(listed: Any) -> S3Object:
    return S3Object(listed["Key"], listed["ETag"], listed["Size"])
