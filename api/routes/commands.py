"""Commands about a job that is there: cancel, pause, resume, retry. 202 says that Kafka has the command."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from api.auth import Operator
from api.boards import Job
from api.bodies import RETRY_BODY
from api.body import read_json
from api.letters import MOST_RETRIED
from api.problems import Problem, described
from api.routes.jobs import JobId, Serving, known_job
from api.services import Services
from messaging.replaying import SortedOut, replay_commands
from schemas.deadletter import LetterId
from schemas.document import Mistake
from schemas.jobs import JobMessage

router = APIRouter(prefix="/api/backfill", tags=["jobs"])


class Commanded(BaseModel):
    """A command that the planner will follow as soon as it reads it."""

    job_id: str


class Retried(BaseModel):
    """Dead letters that the planner is asked to replay."""

    job_id: str
    letters: int = Field(description="How many.")
    left_out: dict[str, int] = Field(description="Letters that can't be replayed, by the reason.")


@router.delete("/jobs/{job_id}", status_code=202, responses=described(404, 409))
async def cancel_job(
    request: Request,
    job_id: JobId,
    services: Serving,
    _caller: Operator,
    force: Annotated[
        bool, Query(description="The job has ended at once; what is under way still ends by itself.")
    ] = False,
) -> Commanded:
    """Cancels a job for good: accounts not fetched yet are given up, what was fetched stays."""
    await _turn(request, services, job_id, JobMessage(action="cancel", force=force))
    return Commanded(job_id=job_id)


@router.post("/jobs/{job_id}/pause", status_code=202, responses=described(404, 409))
async def pause_job(request: Request, job_id: JobId, services: Serving, _caller: Operator) -> Commanded:
    """Pauses a job: downloads under way end, no new ones begin."""
    await _turn(request, services, job_id, JobMessage(action="pause"))
    return Commanded(job_id=job_id)


@router.post("/jobs/{job_id}/resume", status_code=202, responses=described(404, 409))
async def resume_job(request: Request, job_id: JobId, services: Serving, _caller: Operator) -> Commanded:
    """Lets a paused job go on."""
    await _turn(request, services, job_id, JobMessage(action="resume"))
    return Commanded(job_id=job_id)


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    responses=described(404, 408, 409, 413, 415),
    openapi_extra=RETRY_BODY,
)
async def retry_job(request: Request, job_id: JobId, services: Serving, _caller: Operator) -> Retried:
    """Tries again the accounts of a job that failed: all whose dead letters were not replayed yet, or those
    whose letters the body names. A letter is replayed once, however often that is asked for."""
    request.state.subject = job_id
    job = known_job(services, job_id)
    ids = _ids(await read_json(request, services.settings.api.body_bytes))
    if _is_cancelled(job):
        raise _conflict(f"job {job_id} was cancelled, which is final; start another one for its accounts")
    replays, letters = services.boards.replays.items, services.letters
    if ids is None:
        found = await letters.replayable(job_id, job.status.submitted_at, replays)
    else:
        found = await letters.named(job_id, ids, replays)
    if not found.count:
        raise _conflict(f"there is no dead letter of {job_id} to replay{_why(found)}")
    await services.change(request, 202, subject=job_id, detail=f"{found.count} dead letters")
    for _, command in replay_commands(found.jobs):
        await services.command(job_id, command)
    return Retried(job_id=job_id, letters=found.count, left_out=dict(found.skipped))


async def _turn(request: Request, services: Services, job_id: str, command: JobMessage) -> None:
    request.state.subject = job_id
    why = _why_not(known_job(services, job_id), command.action, command.force)
    if why is not None:
        raise _conflict(f"{why}; there is nothing to {command.action}")
    detail = "force" if command.force else None
    await services.change(request, 202, subject=job_id, detail=detail)
    await services.command(job_id, command)


def _why_not(job: Job, action: str, force: bool) -> str | None:
    """Why the planner would not follow such a command, as far as that can be known here."""
    status, job_id = job.status.status, job.status.job_id
    if _is_cancelled(job):
        # While its accounts still end one by one, force ends the job at once.
        going = not job.status.final
        return (
            None if action == "cancel" and force and going else f"job {job_id} was cancelled, which is final"
        )
    if job.status.final:
        return f"job {job_id} has ended ({status})"
    if action == "pause" and status == "paused":
        return f"job {job_id} is paused already"
    if action == "resume" and status in ("queued", "processing"):
        return f"job {job_id} is not paused"
    return None


def _is_cancelled(job: Job) -> bool:
    return job.status.status == "cancelled" or job.status.cancelled_at is not None


def _ids(said: Any) -> list[LetterId] | None:
    """The letters that a body names; None: all of the job."""
    if said is None:
        return None
    if not isinstance(said, dict) or set(said) - {"letters"}:
        raise _wrong("letters", 'the body has to be {"letters": […]}, or nothing for all of the job')
    if "letters" not in said:
        return None
    names = said["letters"]
    if not isinstance(names, list) or not 0 < len(names) <= MOST_RETRIED:
        raise _wrong("letters", f"it has to be a list of 1 to {MOST_RETRIED:,} ids such as 2:1041")
    try:
        return [LetterId.parse(str(name)) for name in names]
    except ValueError as error:
        raise _wrong("letters", str(error)) from error


def _why(found: SortedOut) -> str:
    said = ", ".join(f"{number:,} of them: {why}" for why, number in found.skipped.most_common(3))
    return f" ({said})" if said else ""


def _wrong(key: str, message: str) -> Problem:
    return Problem(422, "invalid-body", message, errors=[Mistake(None, key, message)])


def _conflict(why: str) -> Problem:
    return Problem(409, "not-applicable", why)
