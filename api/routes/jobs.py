"""Jobs as they stand: one, all, their hosts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import AwareDatetime, BeforeValidator

from api.auth import Viewer
from api.boards import Job
from api.host_views import HostList, host_view
from api.paging import Cursor, Limit, cursor_of, read_cursor
from api.problems import Problem, described
from api.services import Services, services_of
from api.views import JobList, JobView, largest_first, summary_of, view_of
from schemas.job_status import Status
from schemas.jobs import LONGEST_JOB_ID
from schemas.section import NAME_PATTERN

router = APIRouter(prefix="/api/backfill", tags=["jobs"])
JobId = Annotated[
    str,
    Path(
        description="The job's id.",
        pattern=NAME_PATTERN,
        max_length=LONGEST_JOB_ID,
        examples=["example-job"],
    ),
]


def _in_words(instant: object) -> object:
    if (
        isinstance(instant, str) and "T" not in instant.upper()
    ):  # pydantic takes numbers for seconds since 1970
        raise ValueError("write an instant with its offset, e.g. 2026-11-25T12:00:00Z")
    return instant


Instant = Annotated[AwareDatetime, BeforeValidator(_in_words)]
Serving = Annotated[Services, Depends(services_of)]


def known_job(services: Services, job_id: str) -> Job:
    """The job. Problem 404."""
    job = services.boards.job(job_id)
    if job is None:
        raise Problem(404, "unknown-job", f"there is no job {job_id}; GET /api/backfill/jobs lists all")
    return job


def view_now(services: Services, job: Job) -> JobView:
    """All about a job as the boards have it."""
    boards, job_id = services.boards, job.status.job_id
    return view_of(job, boards.rates.of(job_id), boards.job_hosts.of(job_id), boards.hosts.items)


@router.get("/status/{job_id}", responses=described(404))
async def job_status(job_id: JobId, services: Serving, _caller: Viewer) -> JobView:
    """All about a job: progress, hosts, record types, errors, speed, outputs, history."""
    return view_now(services, known_job(services, job_id))


@router.get("/jobs", responses=described())
async def list_jobs(
    services: Serving,
    _caller: Viewer,
    status: Annotated[list[Status] | None, Query(description="Only these.")] = None,
    name: Annotated[
        str | None, Query(description="Only those whose name or id contains this.", max_length=200)
    ] = None,
    since: Annotated[Instant | None, Query(description="Only those submitted at or after it.")] = None,
    until: Annotated[Instant | None, Query(description="Only those submitted before it.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> JobList:
    """Jobs, the newest first."""
    boards = services.boards
    begin = read_cursor(cursor, str, str)
    found = [
        (_sort_key(job), job)
        for job in boards.jobs()
        if (not status or job.status.status in status)
        and (name is None or name in job.status.job_id or name in (job.status.name or ""))
        and (since is None or _submitted(job) >= since)
        and (until is None or _submitted(job) < until)
    ]
    found = sorted(
        (one for one in found if begin is None or one[0] < begin), key=lambda one: one[0], reverse=True
    )
    page = found[:limit]
    return JobList(
        jobs=[summary_of(job, boards.rates.of(job.status.job_id)) for _, job in page],
        next_cursor=cursor_of(*page[-1][0]) if len(found) > limit else None,
    )


@router.get("/jobs/{job_id}/hosts", responses=described(404))
async def job_hosts(
    job_id: JobId, services: Serving, _caller: Viewer, cursor: Cursor = None, limit: Limit = 50
) -> HostList:
    """A job's hosts, those with the most accounts first, and how each fares."""
    known_job(services, job_id)
    boards = services.boards
    begin = read_cursor(cursor, int)
    place = begin[0] if begin else 0
    parts = largest_first(boards.job_hosts.of(job_id).values())
    rates = boards.rates.of(job_id)
    return HostList(
        hosts=[
            host_view(part, boards.hosts.items.get(part.host), rates, services.now())
            for part in parts[place : place + limit]
        ],
        total=len(parts),
        next_cursor=cursor_of(place + limit) if len(parts) > place + limit else None,
    )


def _submitted(job: Job) -> datetime:
    return job.status.submitted_at or job.status.updated_at


def _sort_key(job: Job) -> tuple[str, str]:
    """The newest last."""
    return f"{_submitted(job).timestamp():020.6f}", job.status.job_id
