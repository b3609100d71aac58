"""Jobs as planner, worker and tracker would have written them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.backfill import Backfill
from schemas.job_specs import JobSpec
from schemas.job_status import Counts, ErrorSample, ErrorSummary, HistoryEntry, JobHost, JobStatus
from schemas.rates import HostRates, JobRates, RateWindow
from tests.api.server import ApiServer, document

BEGAN = datetime(2026, 11, 20, 12, tzinfo=UTC)


def spec(job_id: str, **more: Any) -> JobSpec:
    """A job that the planner has taken."""
    backfill = Backfill.model_validate(document(job_id)["backfill"])
    return JobSpec.model_validate(
        {"job_id": job_id, "backfill": backfill.model_dump(mode="json"), "submitted_at": BEGAN, **more}
    )


def status(job_id: str, **more: Any) -> JobStatus:
    """A job of ten accounts, of which four have ended."""
    return JobStatus.model_validate(
        {
            "job_id": job_id,
            "name": job_id,
            "status": "processing",
            "total": 10,
            "plan_finished": True,
            "totals": Counts(
                completed=2,
                unavailable=1,
                failed=1,
                retrying=2,
                records=120,
                bytes=5000,
                by_type={"app.bsky.feed.post": 120},
                unavailable_by={"RepoTakendown": 1},
                failed_by={"timeout_error": 1},
                errors={"timeout_error": 4},
            ),
            "errors": {
                "timeout_error": ErrorSummary(
                    retryable=3,
                    permanent=1,
                    samples=[ErrorSample(reason="HostTimeout", detail="silent", at=BEGAN)],
                )
            },
            "resolved": {"known": 6, "directory": 2, "source": 2},
            "history": [HistoryEntry(at=BEGAN, event="submitted")],
            "submitted_at": BEGAN,
            "started_at": BEGAN,
            "updated_at": BEGAN + timedelta(minutes=5),
            **more,
        }
    )


def host(job_id: str, number: int, planned: int) -> JobHost:
    """One of its hosts."""
    name = f"https://pds{number}.example.com"
    return JobHost(job_id=job_id, host=name, planned=planned, counts=Counts(completed=1, records=10))


def rates(job_id: str) -> JobRates:
    """What the last minute brought, as of now."""
    window = RateWindow(
        seconds=60,
        covered_seconds=60,
        repositories=30,
        repositories_per_second=0.5,
        records_per_second=20,
        hosts={"https://pds0.example.com": HostRates(repositories_per_second=0.25, records_per_second=10)},
    )
    return JobRates(job_id=job_id, windows=[window], updated_at=datetime.now(UTC))


def publish(server: ApiServer, made: JobStatus) -> None:
    """The tracker tells of it."""
    server.board.write(server.board.names.job_status, made.job_id, made)
