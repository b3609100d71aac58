"""The `backfill` document: what a user asks for. Every key has a default, a description and a bound.

The keys of the proposal keep their names; what skyfill adds stands beside them. A document is immutable
once its job has started, so everything downstream may rely on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from schemas.schedule import Schedule
from schemas.scope import Scope
from schemas.secrets import (
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    SecretReference,
    credentials_together,
)
from schemas.section import NAME_PATTERN, NSID, Day, LocalPath, Section
from schemas.sources import Source
from schemas.webhooks import NOTICE_EVENTS, NoticeEvent, check_webhook_url

SHORT_NAMES = {
    "post": "app.bsky.feed.post",
    "reply": "app.bsky.feed.post",
    "repost": "app.bsky.feed.repost",
    "like": "app.bsky.feed.like",
    "follow": "app.bsky.graph.follow",
    "block": "app.bsky.graph.block",
}
"""Short record types and their collections. A reply is a post with `reply`, a post one without."""

RECORD_TYPE_PATTERN = rf"^({'|'.join(SHORT_NAMES)}|{NSID}(\.\*)?)$"


class TimeRange(Section):
    """Whole days in UTC, both ends included."""

    start_date: Day | None = Field(None, description="First day; absent: from the beginning.")
    end_date: Day | None = Field(None, description="Last day; absent: no end.")
    by: Literal["created_at", "rkey"] = Field(
        "created_at",
        description="What dates a record: its createdAt (the TID where that is unusable), or the TID alone.",
    )

    margin_days: int | None = Field(
        None,
        ge=0,
        le=36_500,
        description="With `created_at`: also require a key that is a TID of the range or of so many days "
        "around it, so that `list` needs the pages of that time only; absent: any key will do.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise ValueError("end_date lies before start_date; swap them or drop one")
        if self.margin_days is not None and self.by == "rkey":
            raise ValueError("margin_days belongs to `by: created_at`; with `by: rkey` the key alone decides")
        return self


class Processing(Section):
    """How hard to work."""

    batch_size: int = Field(
        5000,
        ge=1,
        le=50_000,
        description="Accounts that the planner resolves and publishes in one transaction.",
    )
    max_concurrent_pds: int = Field(
        32, ge=1, le=4096, description="Hosts that one worker fetches from at once."
    )
    max_concurrent_per_pds: int = Field(8, ge=1, le=256, description="Downloads from one host at once.")
    requests_per_second: float = Field(
        10, gt=0, le=10_000, description="Requests a second to one host, however much it would allow."
    )
    max_retries: int = Field(
        3, ge=0, le=100, description="Further attempts for an account after one that may yet succeed."
    )
    retry_failures: bool = Field(
        True, description="false: an account's first failure is final, and `max_retries` is 0."
    )
    host_give_up_seconds: float | None = Field(
        None,
        gt=0,
        le=30 * 86_400,
        description="A host without one success for so long is given up for this job; absent: as the worker "
        "is set (`worker.host_give_up_seconds`).",
    )
    strategy: Literal["repo", "list", "auto"] = Field(
        "repo",
        description="How records come: `repo` is one CAR per account (getRepo), proven up to the signature; "
        "`list` asks for pages of the wanted collections (listRecords), proven record by record; `auto` is "
        "`list` where few records are wanted by key, else `repo`, and `list` where that fails for good.",
    )
    timeout_seconds: float = Field(
        300,
        gt=0,
        le=86_400,
        description="One download may last this long; silence ends it, too (`worker.silence_seconds`).",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _number_not_switch(cls, value: object, info: ValidationInfo) -> object:
        # YAML reads `yes` as true, and pydantic true as 1
        if isinstance(value, bool) and info.field_name != "retry_failures":
            raise ValueError(f"{str(value).lower()} is not a number")
        return value

    @model_validator(mode="after")
    def _one_key_says_how_often(self) -> Self:
        if not self.retry_failures:  # so that nobody has to ask for both
            object.__setattr__(self, "max_retries", 0)
        return self


class ParquetStorage(Section):
    """Parquet files in a folder."""

    type: Literal["parquet"]
    path: LocalPath = Field(description="The folder; made if it does not exist.")


class DynamoDBStorage(Section):
    """Items in a DynamoDB table keyed did + collection/rkey."""

    type: Literal["dynamodb"]
    table_name: str = Field(
        "backfill_results",
        min_length=3,
        max_length=255,
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="The table.",
    )
    region: str | None = Field(None, description="AWS region; absent: the usual AWS configuration decides.")
    access_key_id: SecretReference | None = ACCESS_KEY_ID
    secret_access_key: SecretReference | None = SECRET_ACCESS_KEY
    session_token: SecretReference | None = SESSION_TOKEN

    @model_validator(mode="after")
    def _whole_credentials(self) -> Self:
        credentials_together(self)
        return self


Storage = Annotated[ParquetStorage | DynamoDBStorage, Field(discriminator="type")]


class Webhook(Section):
    """A URL that is told of the job, signed."""

    url: Annotated[str, AfterValidator(check_webhook_url)] = Field(
        max_length=2000,
        description="Where notices are posted to; https, unless `network.allow_private_hosts` is set.",
    )
    secret: SecretReference = Field(
        description="What signs them (HMAC-SHA-256, as Standard Webhooks say): `whsec_` and base64 of 24 to "
        "64 bytes."
    )
    events: list[NoticeEvent] = Field(
        [event for event in NOTICE_EVENTS if event != "cancelled"],
        min_length=1,
        description="What is told: how the job ended, or that nothing has come for long though work is due.",
    )


class Monitoring(Section):
    """What to watch, and how loudly to speak."""

    prometheus_port: int = Field(
        8000,
        ge=0,
        le=65_535,
        description="First metrics port of the processes of one machine; 0: any free ports.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level logged.")
    alert_on_failure: bool = Field(
        True,
        description="When the job ends other than complete, or is stale: log it at ERROR, once, and tell "
        "`alerts.webhook_url`.",
    )
    webhooks: list[Webhook] = Field(
        default_factory=list, max_length=10, description="Who is told of the job (`skyfill notifier`)."
    )


class Backfill(Section):
    """One job: which accounts, which of their records, how, and where to."""

    name: str = Field("backfill", max_length=100, pattern=NAME_PATTERN, description="Begins the job's id.")
    version: Literal["1.0"] = Field("1.0", description="Version of this document's form.")
    source: Source = Field(description="Where the accounts come from.")
    scope: Scope = Field(default_factory=Scope)
    record_types: list[Annotated[str, Field(pattern=RECORD_TYPE_PATTERN)]] = Field(
        default_factory=list,
        description="Collections (`app.bsky.feed.post`), families (`app.bsky.feed.*`) or short names "
        "(post, reply, repost, like, follow, block); empty or absent: all.",
    )
    time_range: TimeRange | None = Field(None, description="Which days; absent: all.")
    uris: list[str] = Field(default_factory=list, description="Only these at:// URIs; empty or absent: all.")
    skip_existing: Literal[False, True, "since"] = Field(
        False,
        description="Accounts that the stores are known to hold, with all that is wanted: `false` fetches "
        "them again, `true` skips them unless the source lists a later rev, `since` fetches what is new.",
    )
    processing: Processing = Field(default_factory=Processing)
    storage: list[Storage] = Field(min_length=1, description="One store or a list; each record goes to all.")
    monitoring: Monitoring = Field(default_factory=Monitoring)
    schedule: Schedule | None = Field(
        None, description="Starts a job of this document at each due time; absent: it is one job."
    )

    @field_validator("version", mode="before")
    @classmethod
    def _version_as_text(cls, version: object) -> object:
        return str(version) if isinstance(version, int | float) else version

    @field_validator("storage", mode="before")
    @classmethod
    def _one_or_many(cls, storage: object) -> object:
        return [storage] if isinstance(storage, dict) else storage

    @field_validator("record_types", mode="before")
    @classmethod
    def _absent_is_all(cls, record_types: object) -> object:
        return [] if record_types is None else record_types

    @field_validator("uris")
    @classmethod
    def _uris_name_records(cls, uris: list[str]) -> list[str]:
        for uri in uris:
            if not uri.startswith("at://did:") or uri.count("/") != 4:
                raise ValueError(f"{uri!r} is not at://DID/collection/rkey")
        return uris

    def absolute(self, folder: Path) -> Backfill:
        """The same document, relative paths resolved against `folder`: it is read elsewhere."""
        data = self.model_dump(mode="json")
        for section in [data["source"], *data["storage"]]:
            if "path" in section and "://" not in section["path"]:
                section["path"] = str((folder / Path(section["path"]).expanduser()).resolve())
        return Backfill.model_validate(data)
