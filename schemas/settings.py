"""Settings of the processes: defaults < file < SKYFILL_* environment < flags. One model for all of them."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

SETTINGS_FILE = "SKYFILL_SETTINGS_FILE"
"""Environment variable that names a YAML file of settings."""


class Group(BaseModel):
    """A group of settings; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Partitions(Group):
    """Partition counts, fixed for a topic's life. `jobs` and `job-specs` always have one."""

    dids: int = Field(
        16, ge=1, le=1024, description="Of `dids` and `dids.retry`: the most workers that share the work."
    )
    records: int = Field(
        16, ge=1, le=1024, description="Of `records`: the most sinks of a kind that share the work."
    )
    outcomes: int = Field(4, ge=1, le=64, description="Of `outcomes`, `ledger` and `job-status`.")
    deadletter: int = Field(4, ge=1, le=64, description="Of `deadletter`.")
    repos: int = Field(4, ge=1, le=64, description="Of `repos` and `plans`.")


class KafkaSettings(Group):
    """The broker, and what lies on it."""

    bootstrap_servers: str | None = Field(
        None, description="host:port,…; absent: `run`, `up` and `demo` embed a broker."
    )
    topic_prefix: str = Field("skyfill.", description="Begins every topic, group and transactional id.")
    replication_factor: int = Field(-1, description="Of new topics; -1: the broker's default.")
    partitions: Partitions = Partitions()
    client: dict[str, Any] = Field(
        default_factory=dict, description="Passed to every Kafka client untouched (TLS, SASL, …)."
    )
    session_timeout_seconds: float = Field(
        10, ge=1, le=300, description="A silent process loses its partitions after this."
    )
    transaction_timeout_seconds: float = Field(
        30, ge=5, le=900, description="An abandoned transaction is aborted after this."
    )
    commit_interval_seconds: float = Field(
        1, gt=0, le=60, description="How often a worker commits its transaction."
    )
    allow_short_offset_retention: bool = Field(
        False, description="Start even where the broker forgets idle groups' offsets within 30 days."
    )


class NetworkSettings(Group):
    """How to reach the AT Protocol network."""

    plc_url: str = Field("https://plc.directory", description="The PLC directory.")
    relay_url: str = Field("https://bsky.network", description="The relay.")
    allow_private_hosts: bool = Field(
        False, description="Let documents, redirects and handles lead to private addresses and plain http."
    )
    contact: str = Field(
        "", description="Said in the User-Agent: a mail address or URL where a host's operator reaches you."
    )
    handle_url: str | None = Field(
        None, description="An XRPC host to ask for handles, instead of DNS and their web servers."
    )
    plc_concurrency: int = Field(16, ge=1, le=256, description="Resolutions at once.")
    plc_mirror: Path | None = Field(
        None,
        description="The PLC directory's mirror; absent: `plc.sqlite` in the data folder, if it is there.",
    )
    plc_requests_per_second: float = Field(
        1.66,
        gt=0,
        le=10_000,
        description="Of `skyfill plc sync`, at the most; plc.directory allows 500 in 300 seconds.",
    )

    @property
    def user_agent(self) -> str:
        """Names the project, and whom to write to."""
        return f"skyfill/{version('skyfill')}" + (f" (+{self.contact})" if self.contact else "")


class DynamoDBSettings(Group):
    """DynamoDB means AWS, with the usual credential chain, unless an endpoint is set."""

    endpoint_url: str | None = Field(None, description="Another endpoint, e.g. DynamoDB Local.")


class S3Settings(Group):
    """S3 means AWS, with the usual credential chain, unless an endpoint is set."""

    endpoint_url: str | None = Field(None, description="Another endpoint, e.g. SeaweedFS.")


class MetricsSettings(Group):
    """Where a process serves its metrics."""

    host: str = Field("127.0.0.1", description="The address to listen at.")
    port: int | None = Field(
        8000,
        ge=0,
        le=65_535,
        description="The processes of one machine count up from here; 0: any free port, null: no metrics.",
    )


class WorkerSettings(Group):
    """One stream worker."""

    memory_bytes: int = Field(512 * 2**20, ge=2**24, description="Budget for downloads in flight.")
    spool_bytes: int = Field(32 * 2**20, ge=2**16, description="A CAR beyond this goes to a temporary file.")
    window_tasks: int = Field(
        20_000, ge=1, le=20_000, description="Offsets a partition may be read ahead of its commit."
    )
    silence_seconds: float = Field(
        30, gt=0, le=3600, description="A host that says nothing for so long is not waited for any longer."
    )
    connect_seconds: float = Field(
        10, gt=0, le=3600, description="Nor one that takes no connection for so long."
    )
    host_give_up_seconds: float = Field(
        21_600,
        gt=0,
        le=30 * 86_400,
        description="A host without a success for so long is given up for a job; `run` and `demo` wait 600.",
    )


class SinkSettings(Group):
    """One sink process."""

    flush_rows: int = Field(200_000, ge=1, description="Rows in a Parquet file at the most.")
    flush_bytes: int = Field(
        64 * 2**20, ge=2**10, description="Bytes of rows buffered for one Parquet file at the most."
    )
    flush_seconds: float = Field(
        30, gt=0, le=3600, description="Age at which buffered rows are written all the same."
    )
    buffer_bytes: int = Field(256 * 2**20, ge=2**20, description="Bytes buffered over all files at the most.")


class PlannerSettings(Group):
    """The planner."""

    tasks_per_partition: int = Field(
        3000, ge=1, le=20_000, description="A job with more unfinished tasks a partition gets no new chunk."
    )
    chunk_seconds: float = Field(5, gt=0, le=300, description="A chunk ends early after resolving this long.")


class RatesSettings(Group):
    """The rates process."""

    port: int | None = Field(
        6066,
        ge=0,
        le=65_535,
        description="Of its web views on loopback, or the next free one; 0: any free port, null: no views.",
    )


class TrackerSettings(Group):
    """The tracker."""

    stale_seconds: float = Field(
        600,
        gt=0,
        le=30 * 86_400,
        description="A job without an outcome for so long, while work is due, is stale.",
    )
    history_days: float = Field(
        30,
        gt=0,
        le=3650,
        description="So long after a job's end its hosts, samples and events are kept; its totals stay.",
    )


class ApiSettings(Group):
    """The API and the dashboard."""

    host: str = Field("127.0.0.1", description="The address to listen at.")
    port: int = Field(8080, ge=0, le=65_535, description="The port; 0: any free one.")
    folders: list[Path] | None = Field(
        None,
        description="Folders that documents sent to the API may read from and write to; absent: the folder "
        "that the API was started in.",
    )
    body_bytes: int = Field(2**20, ge=2**10, le=2**22, description="A request's body may have so many bytes.")
    requests_per_minute: int = Field(
        600, ge=1, description="Of one token, at each API process; without a token, of one address, a tenth."
    )
    secrets: list[str] = Field(
        default_factory=list,
        description="References that documents sent to the API may use for a bucket at another `endpoint_url`"
        " than the settings' own, which is sent them: `env:BACKFILL_*`, `file:/run/secrets/*`. Elsewhere any "
        "may be used.",
    )
    proxies: list[str] = Field(
        default_factory=lambda: ["127.0.0.1"],
        description="Addresses of reverse proxies whose X-Forwarded-For is believed.",
    )


class AlertSettings(Group):
    """Where the notifier tells of jobs with `monitoring.alert_on_failure`, beside their own webhooks."""

    webhook_url: str | None = Field(None, description="A URL that is told; absent: the log alone.")
    webhook_secret: SecretStr | None = Field(
        None, description="Signs what is sent there (HMAC-SHA-256): `whsec_` and base64."
    )
    job_page: str | None = Field(
        None,
        pattern=r"^https?://.*\{job_id\}",
        description="The address of a job's page, told in notices: https://skyfill.example.com/jobs/{job_id}.",
    )


class Settings(BaseSettings):
    """All settings. `SKYFILL_KAFKA__BOOTSTRAP_SERVERS` sets kafka.bootstrap_servers, and so on."""

    model_config = SettingsConfigDict(
        env_prefix="SKYFILL_",
        env_nested_delimiter="__",
        env_parse_none_str="null",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(
        Path(".skyfill"), description="Where embedded servers, logs and temporary files live."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of the log lines.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level logged.")
    worker_slot: int | None = Field(
        None, ge=0, description="Which of its kind's transactional ids a worker or sink process takes."
    )
    kafka: KafkaSettings = KafkaSettings()
    network: NetworkSettings = NetworkSettings()
    dynamodb: DynamoDBSettings = DynamoDBSettings()
    s3: S3Settings = S3Settings()
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)  # so that it knows what was set
    worker: WorkerSettings = Field(default_factory=WorkerSettings)  # likewise
    sink: SinkSettings = SinkSettings()
    planner: PlannerSettings = PlannerSettings()
    rates: RatesSettings = RatesSettings()
    tracker: TrackerSettings = TrackerSettings()
    api: ApiSettings = ApiSettings()
    alerts: AlertSettings = AlertSettings()

    @property
    def plc_mirror(self) -> Path:
        """Where the mirror of the PLC directory is, or would be."""
        return self.network.plc_mirror or self.data_dir / "plc.sqlite"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags before environment before file."""
        return (
            init_settings,
            env_settings,
            YamlConfigSettingsSource(settings_cls, yaml_file=os.environ.get(SETTINGS_FILE)),
        )
