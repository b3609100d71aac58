"""The sources that a document may name, one model each: where accounts come from, and how to read it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from schemas.errors import ErrorType
from schemas.secrets import (
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    SecretReference,
    credentials_together,
)
from schemas.section import NAME_PATTERN, NSID, Day, LocalPath, Section


class InlineSource(Section):
    """Accounts written into the document."""

    type: Literal["inline"]
    dids: list[str] = Field(min_length=1, description="DIDs or handles.")


class HandlesSource(Section):
    """Accounts by handle, proven both ways: DNS or web names the DID, whose document names the handle."""

    type: Literal["handles"]
    handles: list[str] = Field(min_length=1, description="Handles, with or without @.")

    @field_validator("handles")
    @classmethod
    def _no_dids(cls, handles: list[str]) -> list[str]:
        for handle in handles:
            if handle.strip().startswith("did:"):
                raise ValueError(f"{handle!r} is a DID and no handle; list DIDs with `type: inline`")
        return handles


ListFormat = Literal["txt", "csv", "tsv", "jsonl", "parquet"]
_COLUMN = "The column, or key of JSON objects, that holds DIDs or handles; `did` or `handle` when absent."
_FORMAT = "What it is, where its name does not tell; .gz and .zst count by name in any case."


class FileSource(Section):
    """Accounts from a file: text (one a line), CSV, JSON Lines or Parquet."""

    type: Literal["file"]
    path: LocalPath = Field(
        description="A .txt, .csv, .tsv, .jsonl or .parquet file, all but Parquet also .gz or .zst; "
        "unchanged while planning.",
    )
    column: str | None = Field(None, description=_COLUMN)
    format: ListFormat | None = Field(None, description=_FORMAT)


class SqliteSource(Section):
    """Accounts from a SQLite database, opened read-only."""

    type: Literal["sqlite"]
    path: LocalPath = Field(description="The database file; unchanged while planning.")
    query: str = Field(
        "SELECT did FROM dids", description="A SELECT whose first column holds DIDs or handles."
    )


URL_PATTERN = r"^https?://[^/\s@]*(/[^\s]*)?$"
S3_PATH_PATTERN = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$"


class S3Source(Section):
    """Accounts from objects in S3, or in what speaks its protocol."""

    type: Literal["s3"]
    path: str = Field(
        pattern=S3_PATH_PATTERN,
        description="s3://BUCKET/KEY for one object; where there is none of this name, all whose keys begin "
        "with it, in the bucket's order. Unchanged while planning.",
    )
    column: str | None = Field(None, description=_COLUMN)
    format: ListFormat | None = Field(None, description=_FORMAT)
    endpoint_url: str | None = Field(
        None,
        pattern=URL_PATTERN,
        description="Another endpoint than AWS; absent: the setting `s3.endpoint_url`.",
    )
    region: str | None = Field(None, description="AWS region; absent: the usual AWS configuration decides.")
    access_key_id: SecretReference | None = ACCESS_KEY_ID
    secret_access_key: SecretReference | None = SECRET_ACCESS_KEY
    session_token: SecretReference | None = SESSION_TOKEN

    @model_validator(mode="after")
    def _whole_credentials(self) -> Self:
        credentials_together(self)
        return self


_RELAY = "The relay's origin; absent: the setting `network.relay_url`."
ORIGIN_PATTERN = r"^https?://[^/\s]+/?$"
Origin = Annotated[str, Field(pattern=ORIGIN_PATTERN)]
COLLECTION_PATTERN = rf"^{NSID}$"


class RelaySource(Section):
    """All accounts, as the relay lists them: listRepos."""

    type: Literal["relay"]
    url: Origin | None = Field(None, description=_RELAY)


class HostsSource(Section):
    """All accounts, as their own hosts list them: listHosts of the relay, then each host's listRepos."""

    type: Literal["hosts"]
    url: Origin | None = Field(None, description=_RELAY)
    concurrency: int = Field(16, ge=1, le=64, description="Hosts that are listed at once.")


class CollectionSource(Section):
    """Accounts with records of certain collections, as the relay lists them: listReposByCollection."""

    type: Literal["collection"]
    collections: list[Annotated[str, Field(pattern=COLLECTION_PATTERN)]] = Field(
        min_length=1,
        max_length=100,
        description="Collections, such as app.bsky.feed.post; one of them is enough.",
    )
    url: Origin | None = Field(None, description=_RELAY)


class PlcSource(Section):
    """All accounts in the PLC directory's log, each as its last operation says: /export."""

    type: Literal["plc"]
    since: Day | None = Field(
        None,
        description="Only accounts with an operation on that day (UTC) or later: new, moved, other handle, "
        "other key; absent: all.",
    )


JobOutcome = Literal["failed", "unavailable", "cancelled", "skipped", "completed"]


class JobSource(Section):
    """The accounts of a job that has ended, by what became of them."""

    type: Literal["job"]
    job_id: str = Field(min_length=1, max_length=200, pattern=NAME_PATTERN, description="The job.")
    outcome: list[JobOutcome] = Field(
        ["failed"],
        min_length=1,
        description="How they ended, one word or a list: failed, unavailable, cancelled, skipped, completed.",
    )
    error_type: list[ErrorType] = Field(
        default_factory=list, description="Only those with one of these error types; empty or absent: any."
    )

    @field_validator("outcome", "error_type", mode="before")
    @classmethod
    def _one_or_many(cls, words: object) -> object:
        return [words] if isinstance(words, str) else words


Source = Annotated[
    InlineSource
    | HandlesSource
    | FileSource
    | SqliteSource
    | S3Source
    | RelaySource
    | HostsSource
    | CollectionSource
    | PlcSource
    | JobSource,
    Field(discriminator="type"),
]
