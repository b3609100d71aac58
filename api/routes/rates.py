"""A job's pace over time, for charts. Approximate, like all rates."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from api.auth import Viewer
from api.dashboard.dashboard import dashboard_of
from api.problems import described
from api.routes.jobs import Instant, JobId, Serving, known_job
from schemas.rates import WINDOW_SECONDS

router = APIRouter(prefix="/api/backfill", tags=["jobs"])


class RatePoints(BaseModel):
    """Columns of equal length, oldest first. Where nothing was told there is no point."""

    model_config = ConfigDict(frozen=True)

    at: list[float] = Field(description="Seconds since 1970.")
    records_per_second: list[float]
    repositories_per_second: list[float]
    bytes_per_second: list[float]
    errors_per_minute: list[float] = Field(description="Attempts that failed.")


class RatesOverTime(BaseModel):
    """A job's pace: each point is of the minute before it."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    window_seconds: int = WINDOW_SECONDS[0]
    points: RatePoints


@router.get("/jobs/{job_id}/rates", responses=described(404))
async def job_rates(
    request: Request,
    job_id: JobId,
    services: Serving,
    _caller: Viewer,
    since: Annotated[Instant | None, Query(description="Only points later than this.")] = None,
) -> RatesOverTime:
    """The job's pace over the last day: every ten seconds of the last hour, else every minute."""
    known_job(services, job_id)
    found = dashboard_of(request).pace(job_id, since.timestamp() if since else None)
    return RatesOverTime(
        job_id=job_id,
        points=RatePoints(
            at=[point.at for point in found],
            records_per_second=[point.records for point in found],
            repositories_per_second=[point.repositories for point in found],
            bytes_per_second=[point.bytes for point in found],
            errors_per_minute=[60 * point.errors for point in found],
        ),
    )
