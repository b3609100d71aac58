"""A job's dead letters."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.auth import Viewer
from api.paging import Limit
from api.problems import Problem, described
from api.routes.jobs import JobId, Serving, known_job
from api.views import At
from messaging.replaying import Chosen
from schemas.deadletter import DeadLetter, LetterId
from schemas.errors import ErrorType
from schemas.replays import Replay
from schemas.secrets import mask

router = APIRouter(prefix="/api/backfill", tags=["jobs"])


class ReplayView(BaseModel):
    """What became of a letter's replay."""

    asked_at: At
    accounts: int = Field(description="Accounts that are tried again so far.")
    pending: bool = Field(description="Whether some are still to be looked up.")


class LetterView(BaseModel):
    """One thing that will not be tried again by itself."""

    id: str = Field(description="Partition and offset: what `retry` takes.")
    at: At
    stage: Literal["plan", "fetch", "record", "track", "sink"]
    error_type: ErrorType
    reason: str
    detail: str = Field(description="Without secrets.")
    did: str | None
    host: str | None
    uri: str | None
    attempts: int
    replay: int = Field(description="Which replay of the account came to this; 0: its first life.")
    whole_host: bool = Field(description="Whether it stands for all accounts at a host that was given up.")
    not_replayable: str | None = Field(description="Why a replay would change nothing; null: it may be.")
    replayed: ReplayView | None


class LetterList(BaseModel):
    """A page of letters, in the order of their ids. It may be short, or empty, and not be the last."""

    letters: list[LetterView]
    next_cursor: str | None = Field(description="`cursor` of the next page; null: there is none.")


@router.get("/jobs/{job_id}/deadletters", responses=described(404))
async def job_deadletters(
    job_id: JobId,
    services: Serving,
    _caller: Viewer,
    reason: Annotated[str | None, Query(description="Only with this reason.", max_length=200)] = None,
    host: Annotated[str | None, Query(description="Only of this PDS.", max_length=500)] = None,
    stage: Annotated[
        Literal["plan", "fetch", "record", "track", "sink"] | None, Query(description="Only from this stage.")
    ] = None,
    cursor: Annotated[
        str | None,
        Query(
            description="`next_cursor` of the page before; absent: the first page.",
            pattern=r"^[0-9]{1,9}:[0-9]{1,18}$",
        ),
    ] = None,
    limit: Limit = 50,
) -> LetterList:
    """Dead letters of a job: what was given up, why, and whether it was replayed."""
    job, replays = known_job(services, job_id), services.boards.replays.items
    chosen = Chosen(job=job_id, host=host, reason=reason, stage=stage, since=job.status.submitted_at)
    onward = LetterId.parse(cursor) if cursor else None
    if onward is not None and onward.partition >= services.settings.kafka.partitions.deadletter:
        raise Problem(422, "invalid-cursor", "this cursor is none of this server's; begin without one")
    page = await services.letters.page(chosen, onward, limit, replays)
    return LetterList(
        letters=[letter_view(one, letter, replays.get(str(one))) for one, letter in page.letters],
        next_cursor=str(page.onward) if page.onward else None,
    )


def letter_view(letter_id: LetterId, letter: DeadLetter, replay: Replay | None) -> LetterView:
    """A letter for people."""
    return LetterView(
        id=str(letter_id),
        at=letter.at,
        stage=letter.stage,
        error_type=letter.error_type,
        reason=letter.reason,
        detail=mask(letter.detail),
        did=letter.did,
        host=letter.host,
        uri=letter.uri,
        attempts=letter.attempts,
        replay=letter.replay,
        whole_host=letter.is_lot,
        not_replayable=letter.why_not_replayable(),
        replayed=replay
        and ReplayView(asked_at=replay.asked_at, accounts=replay.accounts, pending=replay.pending),
    )
