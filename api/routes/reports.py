"""How complete a job is: of every account planned, what became of it."""

from __future__ import annotations

from fastapi import APIRouter

from api.auth import Viewer
from api.problems import described
from api.routes.jobs import JobId, Serving, known_job
from schemas.report import CompletenessReport, completeness

router = APIRouter(prefix="/api/backfill", tags=["jobs"])


@router.get("/jobs/{job_id}/report", responses=described(404))
async def job_report(job_id: JobId, services: Serving, _caller: Viewer) -> CompletenessReport:
    """The completeness report of a job, with all of its hosts."""
    job = known_job(services, job_id)
    return completeness(job.status, services.boards.job_hosts.of(job_id))
