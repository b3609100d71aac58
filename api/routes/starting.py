"""From a document to a job: start it, or see what it would take."""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field

from api.auth import Caller, Operator, Viewer
from api.bodies import START_BODY
from api.body import read_body
from api.documents import DocumentRefused, confined, read_start
from api.problems import Problem, described
from api.routes.jobs import Serving
from api.services import Services
from producers.estimate import estimate
from schemas.backfill import Backfill
from schemas.estimate import Estimate
from schemas.jobs import LONGEST_JOB_ID, JobMessage
from schemas.section import NAME_PATTERN

router = APIRouter(prefix="/api/backfill", tags=["jobs"])
_LONGEST_KEY = 200
_TAKEN = "this job id is taken by another document; choose another one"
_KEY_USED = "this Idempotency-Key came with another document before; take another one for a new job"


class Started(BaseModel):
    """A job that is written down; the planner takes it from there."""

    job_id: str
    status_url: str = Field(description="Where its status is.")


@router.post(
    "/start", status_code=202, responses=described(404, 408, 409, 413, 415), openapi_extra=START_BODY
)
async def start_job(
    request: Request,
    response: Response,
    services: Serving,
    caller: Operator,
    job_id: Annotated[
        str | None,
        Query(
            description="The job's id; absent: its name and 10 random digits. The same id and document again "
            "is the same job.",
            pattern=NAME_PATTERN,
            max_length=LONGEST_JOB_ID,
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Any text. The same key and document of one token again is the same job. Beside "
            "`job_id` it is not needed, and says nothing.",
            min_length=1,
            max_length=_LONGEST_KEY,
        ),
    ] = None,
) -> Started:
    """Starts a job from a document, or from a stored config with overrides.

    202 says that Kafka has the command; `status_url` tells what becomes of it, from now on.
    """
    backfill = await _document(request, services)
    chosen = job_id or _job_id(backfill, caller, idempotency_key)
    by_key = job_id is None and idempotency_key is not None
    taken = Problem(422, "key-used", _KEY_USED) if by_key else Problem(409, "id-taken", _TAKEN)
    await _start(request, services, chosen, backfill, taken)
    status_url = f"/api/backfill/status/{chosen}"
    response.headers["Location"] = status_url
    return Started(job_id=chosen, status_url=status_url)


@router.post("/plan", responses=described(404, 408, 413, 415), openapi_extra=START_BODY)
async def plan_job(request: Request, services: Serving, _caller: Viewer) -> Estimate:
    """A dry run: what a job of this document would take. It may take some seconds, and changes nothing."""
    backfill = await _document(request, services)
    async with services.plans:
        return await estimate(services.settings, backfill, deadline_seconds=services.plan_seconds)


async def _document(request: Request, services: Services) -> Backfill:
    body = await read_body(request, services.settings.api.body_bytes)
    try:
        backfill = await read_start(body, services.boards.configs.items, services.documents)
        return confined(backfill, services.folders, services.settings.api.secrets)
    except DocumentRefused as refused:
        raise refused.problem from refused


async def _start(
    request: Request, services: Services, job_id: str, backfill: Backfill, taken: Problem
) -> None:
    """Sends the command, unless the job is there already. `taken` where another document has its id."""
    request.state.subject = job_id
    known = services.boards.job(job_id)
    if known is not None and known.backfill != backfill:
        raise taken
    command = JobMessage(action="start", backfill=_as_json(backfill))
    await services.change(request, 202, subject=job_id)
    if known is not None:
        return
    offset = await services.command(job_id, command)
    # Another process may have sent a start of this id a moment before: the first one counts, for everybody.
    await services.boards.heard(services.names.jobs, offset)
    found = services.boards.job(job_id)
    if found is not None and found.backfill is not None and found.backfill != backfill:
        raise taken


def _job_id(backfill: Backfill, caller: Caller, key: str | None) -> str:
    if key is None:
        return f"{backfill.name}-{secrets.token_hex(5)}"
    digest = hashlib.sha256(f"{caller.token.id}\n{key}".encode()).hexdigest()
    return f"job-{digest[:20]}"


def _as_json(backfill: Backfill) -> dict[str, Any]:
    return backfill.model_dump(mode="json")
