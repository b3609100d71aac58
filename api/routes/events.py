"""A job as it goes on: server-sent events, of which a slow reader or a crowd of readers holds up nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header
from sse_starlette import EventSourceResponse, ServerSentEvent

from api.auth import Caller, Viewer
from api.problems import described
from api.routes.jobs import JobId, Serving, known_job, view_now
from api.services import Services
from schemas.job_status import HistoryEntry

router = APIRouter(prefix="/api/backfill", tags=["jobs"])
_BETWEEN_SECONDS = 0.5
_PING_SECONDS = 15
_SEND_SECONDS = 10
"""A client that reads nothing for so long is let go."""
_LONGEST_SECONDS = 3600.0
"""A stream ends then, and its client comes again: whose token was revoked meanwhile is refused."""
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`status`: the job as JSON (as `GET …/status/{job_id}` has it), at once and on each "
        "change, at most twice a second. `entry`: something that has happened to it. `end`: it has "
        "ended, and the stream with it. Comments in between keep the connection.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "event": {"enum": ["status", "entry", "end"]},
                        "id": {"type": "string"},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                    },
                    "required": ["event", "data"],
                }
            }
        },
    }
}


@router.get(
    "/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses={**described(404), **_EVENTS},
)
async def job_events(
    job_id: JobId,
    services: Serving,
    caller: Viewer,
    last_event_id: Annotated[
        str | None, Header(description="The last id that was seen: what came before is not told again.")
    ] = None,
) -> EventSourceResponse:
    """Follows a job until it has ended."""
    known_job(services, job_id)
    services.streams.require_room(caller.token.id)
    return EventSourceResponse(
        _events(services, caller, job_id, last_event_id),
        ping=_PING_SECONDS,
        send_timeout=_SEND_SECONDS,
        cleanup_timeout=1,
    )


async def _events(
    services: Services, caller: Caller, job_id: str, seen: str | None
) -> AsyncIterator[ServerSentEvent]:
    told: str | None = None
    entries = _Entries(seen)
    until = services.clock() + _LONGEST_SECONDS
    with services.streams.taken(caller.token.id):
        while services.clock() < until:
            job = services.boards.job(job_id)
            if job is None:
                return
            for entry in entries.new(job.status.history):
                yield ServerSentEvent(entry.model_dump_json(), event="entry", id=entries.id)
            if (view := view_now(services, job).model_dump_json()) != told:
                told = view
                yield ServerSentEvent(view, event="status", id=entries.id or None)
            if job.status.final:
                yield ServerSentEvent("{}", event="end", id=entries.id or None)
                return
            if not await services.streams.pause(_BETWEEN_SECONDS):
                return
            if not services.knows(caller.token):
                return


class _Entries:
    """Which entries of a job's history were told: those up to an instant, and so many of that instant."""

    def __init__(self, seen: str | None) -> None:
        """`seen` is an `id` that was given out; anything else counts as none."""
        self.id = ""
        self._at, self._count = "", 0
        at, _, count = (seen or "").rpartition("/")
        if at and count.isdigit():
            self._at, self._count, self.id = at, int(count), f"{at}/{int(count)}"

    def new(self, history: list[HistoryEntry]) -> list[HistoryEntry]:
        """Those that were not told yet, the oldest first; they count as told from now on."""
        found = []
        of_instant: dict[str, int] = {}
        for entry in history:
            at = _instant(entry)
            of_instant[at] = of_instant.get(at, 0) + 1
            if (at, of_instant[at]) > (self._at, self._count):
                found.append(entry)
        if found:
            self._at = _instant(found[-1])
            self._count = of_instant[self._at]
            self.id = f"{self._at}/{self._count}"
        return found


def _instant(entry: HistoryEntry) -> str:
    return f"{entry.at.timestamp():020.6f}"
