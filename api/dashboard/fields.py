"""The fields of the form that starts a backfill: which there are, and which key of the document each is.

The form shows what most jobs need. What it has no field for stays in the document and is edited as YAML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel

from schemas.backfill import Backfill, DynamoDBStorage, ParquetStorage, Processing, TimeRange
from schemas.sources import (
    CollectionSource,
    FileSource,
    HandlesSource,
    HostsSource,
    InlineSource,
    JobOutcome,
    JobSource,
    PlcSource,
    RelaySource,
    S3Source,
    SqliteSource,
)

Kind = Literal["text", "words", "date", "number", "choice", "choices"]
"""`words` are a list, one a line or separated by commas."""


@dataclass(frozen=True)
class FormField:
    """One input."""

    name: str
    """In the form."""
    path: tuple[str, ...]
    """In the document, below `backfill`; of a source's or store's field, below that."""
    label: str
    kind: Kind = "text"
    hint: str = ""
    example: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    """Value and what it says."""
    default: str = ""
    """What an empty field means."""


@dataclass(frozen=True)
class Group:
    """A kind of source or store, with the fields that only it has."""

    type: str
    title: str
    fields: tuple[FormField, ...]


def _field(
    model: type[BaseModel], prefix: str, key: str, label: str, kind: Kind = "text", example: str = ""
) -> FormField:
    known = model.model_fields[key]
    default = known.default if isinstance(known.default, str | int | float) else ""
    return FormField(
        f"{prefix}{key}", (key,), label, kind, known.description or "", example, default=str(default)
    )


_OUTCOMES = tuple((word, word) for word in get_args(JobOutcome))

SOURCES: tuple[Group, ...] = (
    Group(
        "inline",
        "Accounts typed here",
        (_field(InlineSource, "inline.", "dids", "Accounts", "words", example="did:plc:… or alice.example"),),
    ),
    Group(
        "handles",
        "Handles, proven both ways",
        (_field(HandlesSource, "handles.", "handles", "Handles", "words", example="alice.example"),),
    ),
    Group(
        "file",
        "A file",
        (
            _field(FileSource, "file.", "path", "File", example="accounts.csv"),
            _field(FileSource, "file.", "column", "Column"),
        ),
    ),
    Group(
        "sqlite",
        "A SQLite database",
        (
            _field(SqliteSource, "sqlite.", "path", "Database file", example="accounts.db"),
            _field(SqliteSource, "sqlite.", "query", "Query"),
        ),
    ),
    Group(
        "s3",
        "Objects in S3",
        (
            _field(S3Source, "s3.", "path", "Object or prefix", example="s3://bucket/accounts.csv"),
            _field(S3Source, "s3.", "column", "Column"),
            _field(S3Source, "s3.", "region", "Region"),
        ),
    ),
    Group("relay", "All accounts that a relay lists", (_field(RelaySource, "relay.", "url", "Relay"),)),
    Group("hosts", "All accounts that their hosts list", (_field(HostsSource, "hosts.", "url", "Relay"),)),
    Group(
        "collection",
        "Accounts with records of a kind",
        (
            _field(
                CollectionSource,
                "collection.",
                "collections",
                "Collections",
                "words",
                example="app.bsky.feed.post",
            ),
            _field(CollectionSource, "collection.", "url", "Relay"),
        ),
    ),
    Group("plc", "The PLC directory's log", (_field(PlcSource, "plc.", "since", "Since", "date"),)),
    Group(
        "job",
        "Accounts of another job",
        (
            _field(JobSource, "job.", "job_id", "Job"),
            FormField(
                "job.outcome",
                ("outcome",),
                "That ended",
                "choices",
                JobSource.model_fields["outcome"].description or "",
                choices=_OUTCOMES,
            ),
        ),
    ),
)

STORES: tuple[Group, ...] = (
    Group("parquet", "Parquet files", (_field(ParquetStorage, "parquet.", "path", "Folder", example="out"),)),
    Group(
        "dynamodb",
        "A DynamoDB table",
        (
            _field(DynamoDBStorage, "dynamodb.", "table_name", "Table"),
            _field(DynamoDBStorage, "dynamodb.", "region", "Region"),
        ),
    ),
)

RECORD_TYPES = ("post", "reply", "repost", "like", "follow", "block")

NAME = _field(Backfill, "", "name", "Name", example="my-accounts")

PLAIN: tuple[FormField, ...] = (
    NAME,
    FormField(
        "start_date",
        ("time_range", "start_date"),
        "First day",
        "date",
        TimeRange.model_fields["start_date"].description or "",
    ),
    FormField(
        "end_date",
        ("time_range", "end_date"),
        "Last day",
        "date",
        TimeRange.model_fields["end_date"].description or "",
    ),
    FormField(
        "strategy",
        ("processing", "strategy"),
        "Strategy",
        "choice",
        Processing.model_fields["strategy"].description or "",
        choices=(
            ("repo", "repo: whole repositories, proven by signature"),
            ("list", "list: pages of the wanted collections"),
            ("auto", "auto: whichever takes less"),
        ),
        default="repo",
    ),
    FormField(
        "skip_existing",
        ("skip_existing",),
        "Accounts that are stored already",
        "choice",
        Backfill.model_fields["skip_existing"].description or "",
        choices=(("false", "fetch again"), ("true", "skip"), ("since", "fetch what is new")),
        default="false",
    ),
    FormField(
        "requests_per_second",
        ("processing", "requests_per_second"),
        "Requests a second and host",
        "number",
        Processing.model_fields["requests_per_second"].description or "",
        default=str(Processing.model_fields["requests_per_second"].default),
    ),
    FormField(
        "max_retries",
        ("processing", "max_retries"),
        "Further attempts",
        "number",
        Processing.model_fields["max_retries"].description or "",
        default=str(Processing.model_fields["max_retries"].default),
    ),
)
"""Fields that stand in every form. Record types, source and stores have a place of their own."""
