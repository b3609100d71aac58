"""Commands in this process, each said twice: straight through Kafka, and through the API of a real server."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from cli.app import main
from messaging.names import Names
from schemas.backfill import Backfill
from schemas.job_specs import JobSpec
from schemas.job_status import Counts, ErrorSample, ErrorSummary, JobHost, JobStatus
from schemas.rates import HostRates, JobRates, RateWindow
from tests.api.server import ApiServer
from tests.cli.command import Ended

Way = Literal["kafka", "api"]
WAYS: tuple[Way, ...] = ("kafka", "api")
BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Here:
    """Says commands to one deployment."""

    server: ApiServer
    capsys: pytest.CaptureFixture[str]

    def say(self, way: Way, *arguments: str, token: str | None = None) -> Ended:
        """One command; `token` for the API is an admin's unless another is given."""
        kafka = self.server.settings.kafka
        env = {
            "SKYFILL_DATA_DIR": str(self.server.settings.data_dir),
            "SKYFILL_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers or "",
            "SKYFILL_KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
            "SKYFILL_NETWORK__PLC_URL": self.server.settings.network.plc_url,
            "SKYFILL_NETWORK__RELAY_URL": self.server.settings.network.relay_url,
            "SKYFILL_METRICS__PORT": "null",
        }
        for name in ("dids", "records", "outcomes", "deadletter", "repos"):
            env[f"SKYFILL_KAFKA__PARTITIONS__{name.upper()}"] = str(getattr(kafka.partitions, name))
        if way == "api":
            # Nothing but the API may be asked: there is no broker that this command could reach.
            env = {"SKYFILL_API_URL": self.server.url}
            env["SKYFILL_API_TOKEN"] = self.server.tokens["admin"] if token is None else token
        return said(self.capsys, env, *arguments)


def said(capsys: pytest.CaptureFixture[str], env: dict[str, str], *arguments: str) -> Ended:
    """A command with these SKYFILL_ variables and no others."""
    capsys.readouterr()
    with only(env), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["skyfill", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    captured = capsys.readouterr()
    code = ended.value.code
    return Ended(code if isinstance(code, int) else 0 if code is None else 1, captured.out, captured.err)


@contextmanager
def only(env: dict[str, str]) -> Iterator[None]:
    """The environment without other SKYFILL_ variables than these."""
    before = dict(os.environ)
    for name in before:
        if name.startswith("SKYFILL_"):
            del os.environ[name]
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def write_job(server: ApiServer, status: JobStatus, *hosts: JobHost) -> None:
    """A job as planner and tracker tell of it."""
    board, names = server.board, Names(server.settings.kafka.topic_prefix)
    section = {
        "name": status.name or "a-job",
        "source": {"type": "inline", "dids": ["did:plc:z72i7hdynmk6r22z27h6tvur"]},
        "storage": [{"type": "parquet", "path": str(server.settings.data_dir / "folder" / "out")}],
    }
    spec = JobSpec(
        job_id=status.job_id,
        backfill=Backfill.model_validate(section),
        state="cancelled" if status.status == "cancelled" else "active",
        submitted_at=status.submitted_at or BEGAN,
    )
    board.write(names.job_specs, status.job_id, spec)
    for host in hosts:
        board.write(names.job_hosts, f"{status.job_id} {host.host}", host, by=status.job_id)
    board.write(names.job_status, status.job_id, status)


def partial(job_id: str) -> tuple[JobStatus, list[JobHost]]:
    """A job of which a tenth failed, at several hosts."""
    counts = Counts(
        completed=800,
        unavailable=100,
        failed=100,
        records=12_345,
        bytes=9_876_543,
        by_type={"app.bsky.feed.post": 12_345},
        unavailable_by={"RepoTakendown": 60, "RepoNotFound": 40},
        failed_by={"timeout_error": 90, "verification_failed": 10},
        errors={"timeout_error": 280, "verification_failed": 10},
    )
    silent = ErrorSample(
        reason="HostTimeout", detail="it did not answer", host="https://a.pds.example", at=BEGAN
    )
    forged = ErrorSample(reason="SignatureInvalid", host="https://solo.test", at=BEGAN)
    status = JobStatus(
        job_id=job_id,
        name="partly",
        status="partial_success",
        total=1000,
        plan_finished=True,
        duplicates=7,
        left_out={"moved": 3},
        totals=counts,
        errors={
            "timeout_error": ErrorSummary(retryable=190, permanent=90, samples=[silent]),
            "verification_failed": ErrorSummary(permanent=10, samples=[forged]),
        },
        newest_rev="3l3qo2vutsw2c",
        submitted_at=BEGAN,
        started_at=BEGAN,
        finished_at=BEGAN + timedelta(hours=1),
        updated_at=BEGAN + timedelta(hours=1),
    )
    hosts = [
        host(job_id, "https://a.pds.example", 500, completed=410, failed=90),
        host(job_id, "https://b.pds.example", 490, completed=390, unavailable=100),
        host(job_id, "https://solo.test", 10, failed=10),
    ]
    return status, hosts


def host(job_id: str, name: str, planned: int, **counts: int) -> JobHost:
    return JobHost(
        job_id=job_id,
        host=name,
        planned=planned,
        counts=Counts(records=10 * planned, bytes=1000 * planned, **counts),
        newest_rev="3l3qo2vutsw2c",
    )


def rates(job_id: str, per_minute: int) -> JobRates:
    """Told just now."""
    windows = [
        RateWindow(
            seconds=seconds,
            covered_seconds=seconds,
            repositories=per_minute * seconds // 60,
            repositories_per_second=per_minute / 60,
            records_per_second=per_minute / 6,
            hosts={"https://a.pds.example": HostRates(repositories_per_second=per_minute / 60)},
        )
        for seconds in (60, 300, 3600)
    ]
    return JobRates(job_id=job_id, windows=windows, updated_at=datetime.now(UTC))
