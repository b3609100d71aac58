"""How fast everything goes, and how far the groups are behind."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.auth import Viewer
from api.host_views import BudgetView, budgets_of, limiter_use
from api.problems import described
from api.routes.jobs import Serving
from api.services import Services
from api.views import At, JobSummary, summary_of
from messaging.lag import Lag, by_topic
from schemas.hosts import BreakerState
from schemas.job_status import Status
from schemas.rates import RateWindow

router = APIRouter(prefix="/api/backfill", tags=["performance"])
_MOST_HOSTS = 50


class JobPace(BaseModel):
    """A job that goes on."""

    job: JobSummary
    windows: list[RateWindow] = Field(description="The last minute, five minutes and hour; approximate.")


class HostLine(BaseModel):
    """How a host fares, whatever the job."""

    host: str
    breaker: BreakerState
    retry_at: At | None
    failing_since: At | None
    requests: int
    refusals: int = Field(description="Of the requests, those answered 429.")
    refused_share: float | None = Field(description="Part of the requests answered 429; null: none was sent.")
    budgets: list[BudgetView]
    limiter_use: float | None
    updated_at: At


class Counted(BaseModel):
    """Sums over all jobs that are known."""

    jobs: dict[Status, int] = Field(description="Jobs by status.")
    accounts: int
    done: int
    records: int
    bytes: int


class PerformanceView(BaseModel):
    """All jobs' speed, and the hosts'."""

    records_per_second: float | None = Field(
        description="Of all jobs, over the last minute; null: not known."
    )
    repositories_per_second: float | None
    bytes_per_second: float | None
    limiter_use: float | None = Field(description="Part of all hosts' budgets that is used, 0 to 1.")
    jobs: list[JobPace] = Field(description="Those that have not ended.")
    hosts: list[HostLine] = Field(description=f"The {_MOST_HOSTS} that were asked most; all by job: …/hosts.")
    hosts_total: int
    counts: Counted


class LagRow(BaseModel):
    """How far a group is behind in one partition, or in all of a topic's together."""

    group: str
    topic: str
    partition: int | None = Field(description="null: the whole topic.")
    committed: int | None
    end: int | None
    lag: int | None = Field(description="Messages from the committed offset to the end; null: not known.")
    finished_beyond: int | None = Field(
        description="Done, and beyond the committed offset; of workers alone."
    )
    trend: float | None = Field(description="Messages a second by which the lag grows; falls: below 0.")
    clears_in_seconds: float | None = Field(description="null: not known, or it does not fall.")
    unknown: int = Field(description="Partitions of which nothing is known.")


class LagView(BaseModel):
    """The last look at all groups."""

    age_seconds: float = Field(description="How long ago that was.")
    topics: list[LagRow] = Field(description="A row a group and topic.")
    partitions: list[LagRow]


@router.get("/performance", responses=described())
async def performance(services: Serving, _caller: Viewer) -> PerformanceView:
    """All jobs' rates, the hosts' limiters and breakers, and counts."""
    boards = services.boards
    jobs = list(boards.jobs())
    going = sorted((job for job in jobs if not job.status.final), key=lambda job: job.status.job_id)
    told = [rates for job in going if (rates := boards.rates.of(job.status.job_id)) and rates.windows]
    minutes = [rates.windows[0] for rates in told]
    hosts = list(boards.hosts.items.values())
    busiest = sorted(hosts, key=lambda state: (-state.requests, state.origin))[:_MOST_HOSTS]
    statuses: dict[Status, int] = {}
    for job in jobs:
        statuses[job.status.status] = statuses.get(job.status.status, 0) + 1
    return PerformanceView(
        records_per_second=sum(one.records_per_second for one in minutes) if minutes else None,
        repositories_per_second=sum(one.repositories_per_second for one in minutes) if minutes else None,
        bytes_per_second=sum(one.bytes_per_second for one in minutes) if minutes else None,
        limiter_use=limiter_use(hosts, services.now()),
        jobs=[_pace(services, job.status.job_id) for job in going],
        hosts=[
            HostLine(
                host=state.origin,
                breaker=state.breaker,
                retry_at=state.retry_at,
                failing_since=state.failing_since,
                requests=state.requests,
                refusals=state.refusals,
                refused_share=round(state.refusals / state.requests, 6) if state.requests else None,
                budgets=budgets_of(state),
                limiter_use=limiter_use([state], services.now()),
                updated_at=state.updated_at,
            )
            for state in busiest
        ],
        hosts_total=len(hosts),
        counts=Counted(
            jobs=statuses,
            accounts=sum(job.status.total for job in jobs),
            done=sum(job.status.totals.terminal for job in jobs),
            records=sum(job.status.totals.records for job in jobs),
            bytes=sum(job.status.totals.bytes for job in jobs),
        ),
    )


@router.get("/lag", responses=described())
async def lag(services: Serving, _caller: Viewer) -> LagView:
    """How far every group is behind what it reads, with trend and time to clear. Looked up every two seconds
    while somebody asks."""
    lags, age = await services.lag.latest()
    return LagView(
        age_seconds=round(age, 3),
        topics=[_row(one) for one in by_topic(lags)],
        partitions=[_row(one) for one in lags],
    )


def _pace(services: Services, job_id: str) -> JobPace:
    job, rates = services.boards.job(job_id), services.boards.rates.of(job_id)
    assert job is not None  # it was there in this very turn of the loop
    return JobPace(job=summary_of(job, rates), windows=rates.windows if rates else [])


def _row(lag: Lag) -> LagRow:
    return LagRow(
        group=lag.group,
        topic=lag.topic,
        partition=lag.partition,
        committed=lag.committed,
        end=lag.end,
        lag=lag.lag,
        finished_beyond=lag.finished_beyond,
        trend=lag.trend,
        clears_in_seconds=lag.clears_in,
        unknown=lag.unknown,
    )
