"""The list of jobs and a job's page, with what can be done about it. Pages are read without any script."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.client import ApiClient, Refused, segment
from api.dashboard.dashboard import dashboard_of
from api.dashboard.form import document_in_short, yaml_of
from api.dashboard.hosts_table import hosts_table
from api.dashboard.visits import PageRoute, Visit, first, form_of, one_of, see_other, visit
from api.services import services_of
from api.views import JobList, view_of
from messaging.rates_history import RatePoint
from schemas.job_status import FINAL

router = APIRouter(include_in_schema=False, route_class=PageRoute)
STATUSES = ("queued", "processing", "paused", "complete", "partial_success", "error", "cancelled")
STAGES = ("plan", "fetch", "record", "track", "sink")
_JOBS, _LETTERS, _LETTERS_ON_JOB, _PACE = 50, 100, 10, 30
_PACE_STEP_SECONDS = 60.0


@router.get("/")
async def show_jobs(request: Request, name: str = "", cursor: str = "") -> Response:
    """All jobs, the newest first."""
    status = one_of(request.query_params.get("status"), STATUSES)
    async with visit(request) as visitor:
        found = await visitor.api.get("jobs", status=status, name=name, cursor=cursor, limit=_JOBS)
        chosen = {"status": status, "name": name}
        return dashboard_of(request).renderer.page(
            request,
            "jobs.html",
            visitor.who,
            jobs=JobList.model_validate(found).jobs,
            statuses=STATUSES,
            final=FINAL,
            chosen=SimpleNamespace(**chosen),
            next_page=_address("/", chosen, cursor=found["next_cursor"]),
            first_page=_address("/", chosen) if cursor else None,
        )


@router.get("/jobs/{job_id}")
async def show_job(
    request: Request, job_id: str, sort: str = "", page: int = 1, live: str | None = None
) -> Response:
    """One job. `live` asks for what changes: with what was seen of its failures, letters come if that did."""
    async with visit(request) as visitor:
        boards, dashboard = services_of(request).boards, dashboard_of(request)
        known = boards.job(job_id)
        if known is None:
            raise Refused(404, {"title": "unknown job", "detail": f"There is no job {job_id}."})
        rates, parts = boards.rates.of(job_id), boards.job_hosts.of(job_id)
        job = view_of(known, rates, parts, boards.hosts.items)
        seen = f"{job.progress.failed}-{job.progress.replaying}"
        here = f"/jobs/{segment(job_id)}"
        return dashboard.renderer.page(
            request,
            "job.html",
            visitor.who,
            job=job,
            final=job.status in FINAL,
            here=here,
            seen=seen,
            letters=await _some_letters(visitor.api, job_id) if live != seen else None,
            pace=_by_the_minute(dashboard.pace(job_id)),
            yaml=yaml_of(document_in_short(known.backfill)) if known.backfill else None,
            **hosts_table(here, parts, boards.hosts.items, rates, sort, page, services_of(request).now()),
        )


@router.get("/jobs/{job_id}/letters")
async def show_letters(
    request: Request, job_id: str, reason: str = "", host: str = "", cursor: str = ""
) -> Response:
    """A job's dead letters, all of them, page by page."""
    stage = one_of(request.query_params.get("stage"), STAGES)
    chosen = {"stage": stage, "reason": reason, "host": host}
    async with visit(request) as visitor:
        path = f"jobs/{segment(job_id)}/deadletters"
        found = await visitor.api.get(path, **chosen, cursor=cursor, limit=_LETTERS)
        here = f"/jobs/{segment(job_id)}"
        return dashboard_of(request).renderer.page(
            request,
            "letters.html",
            visitor.who,
            job_id=job_id,
            here=here,
            stages=STAGES,
            chosen=SimpleNamespace(**chosen),
            letters=SimpleNamespace(
                rows=found["letters"],
                problem=None,
                onward=_address(f"{here}/letters", chosen, cursor=found["next_cursor"]),
                onward_words="Next page",
            ),
        )


@router.post("/jobs/{job_id}/{action}")
async def act(request: Request, job_id: str, action: str) -> Response:
    """Cancels, pauses, resumes, retries, replays."""
    async with visit(request) as visitor:
        fields, path = await form_of(request), f"jobs/{segment(job_id)}"
        if action == "cancel":
            force = {"force": "true"} if first(fields, "force") == "true" else {}
            await visitor.api.send("DELETE", path, params=force)
        elif action in ("pause", "resume"):
            await visitor.api.send("POST", f"{path}/{action}")
        elif action in ("retry", "replay"):
            return await _replay(visitor, job_id, fields, action)
        else:
            raise Refused(404, {"title": "not found", "detail": "There is no such action."})
        return see_other(f"/jobs/{segment(job_id)}", done=action)


async def _replay(visitor: Visit, job_id: str, fields: dict[str, list[str]], action: str) -> Response:
    chosen = fields.get("letters", [])
    everything = action == "retry" or first(fields, "which") == "all"
    if not (chosen or everything):
        raise Refused(
            422, {"title": "nothing chosen", "detail": "Choose the letters that are to be replayed."}
        )
    body = None if everything else {"letters": chosen}
    await visitor.api.send("POST", f"jobs/{segment(job_id)}/retry", body=body)
    return see_other(f"/jobs/{segment(job_id)}", done=action)


async def _some_letters(api: ApiClient, job_id: str) -> SimpleNamespace:
    """The first few; a broker that is slow to give them keeps nobody from the rest of the page."""
    try:
        found = await api.get(f"jobs/{segment(job_id)}/deadletters", limit=_LETTERS_ON_JOB)
    except Refused as refused:
        return SimpleNamespace(rows=[], problem=refused.detail, onward=None)
    onward = f"/jobs/{segment(job_id)}/letters" if found["next_cursor"] else None
    return SimpleNamespace(
        rows=found["letters"], problem=None, onward=onward, onward_words="All dead letters"
    )


def _by_the_minute(points: list[RatePoint]) -> list[dict[str, Any]]:
    """The latest half hour in figures, the latest first."""
    rows: list[dict[str, Any]] = []
    before = float("inf")
    for point in reversed(points):
        if before - point.at >= _PACE_STEP_SECONDS:
            before = point.at
            rows.append(
                {
                    "at": datetime.fromtimestamp(point.at, UTC),
                    "records": point.records,
                    "repositories": point.repositories,
                    "bytes": point.bytes,
                    "errors_per_minute": 60 * point.errors,
                }
            )
        if len(rows) >= _PACE:
            break
    return rows


def _address(path: str, chosen: dict[str, str], **more: str | None) -> str | None:
    """A page with these choices; None where one of `more` is not there: there is no such page."""
    if any(value is None for value in more.values()):
        return None
    query = {name: value for name, value in {**chosen, **more}.items() if value}
    return f"{path}?{urlencode(query)}" if query else path
