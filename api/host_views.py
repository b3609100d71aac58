"""Hosts in answers: a job's part at each, beside what workers have learnt of the host and the last rates."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from schemas.hosts import BreakerState, HostState
from schemas.job_status import JobHost
from schemas.rates import HostRates, JobRates


class BudgetView(BaseModel):
    """What a host lets us ask of it."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(description="`advertised` in RateLimit headers, or `learnt` from refusals.")
    methods: list[str] = Field(description="That share it; empty: all.")
    limit: int
    used: int = Field(description="Requests in the present window.")
    window_seconds: float | None
    resets_at: datetime | None


class HostView(BaseModel):
    """One host's part in a job, and how the host fares."""

    model_config = ConfigDict(frozen=True)

    host: str
    planned: int
    done: int
    completed: int
    skipped: int
    unavailable: int
    failed: int
    cancelled: int
    unavailable_by: dict[str, int]
    failed_by: dict[str, int]
    records: int
    bytes: int
    errors: dict[str, int] = Field(description="Attempts that failed, by error type.")
    newest_rev: str | None
    breaker: BreakerState | None = Field(description="null: no worker has told of this host.")
    retry_at: datetime | None = Field(description="When an open breaker lets the next request through.")
    failing_since: datetime | None
    requests: int | None
    refusals: int | None = Field(description="Of the requests, those answered 429.")
    budgets: list[BudgetView]
    limiter_use: float | None = Field(description="Part of the budget that is used, 0 to 1.")
    given_up: bool = Field(description="Whether the host was given up for this job.")
    repositories_per_second: float | None = Field(description="Over the last minute; null: not known.")
    records_per_second: float | None
    mean_seconds: float | None


class HostList(BaseModel):
    """A page of a job's hosts."""

    hosts: list[HostView]
    total: int = Field(description="How many hosts the job has.")
    next_cursor: str | None = Field(description="`cursor` of the next page; null: there is none.")


def host_view(part: JobHost, state: HostState | None, rates: JobRates | None, now: datetime) -> HostView:
    """A host of a job."""
    counts, pace = part.counts, _pace(part.host, rates)
    return HostView(
        host=part.host,
        planned=part.planned,
        done=counts.terminal,
        completed=counts.completed,
        skipped=counts.skipped,
        unavailable=counts.unavailable,
        failed=counts.failed,
        cancelled=counts.cancelled,
        unavailable_by=counts.unavailable_by,
        failed_by=counts.failed_by,
        records=counts.records,
        bytes=counts.bytes,
        errors=counts.errors,
        newest_rev=part.newest_rev,
        breaker=state.breaker if state else None,
        retry_at=state.retry_at if state else None,
        failing_since=state.failing_since if state else None,
        requests=state.requests if state else None,
        refusals=state.refusals if state else None,
        budgets=budgets_of(state) if state else [],
        limiter_use=limiter_use([state], now) if state else None,
        given_up=bool(state and part.job_id in state.given_up),
        repositories_per_second=pace.repositories_per_second if pace else None,
        records_per_second=pace.records_per_second if pace else None,
        mean_seconds=pace.mean_seconds if pace else None,
    )


def budgets_of(state: HostState) -> list[BudgetView]:
    """All budgets that are known of a host."""
    found = [
        BudgetView(
            kind="advertised",
            methods=bucket.kinds,
            limit=bucket.limit,
            used=max(0, bucket.limit - bucket.remaining),
            window_seconds=bucket.window_seconds,
            resets_at=bucket.resets_at,
        )
        for bucket in state.buckets
    ]
    if state.hidden is not None and state.hidden.limit:
        found.append(
            BudgetView(
                kind="learnt",
                methods=[],
                limit=state.hidden.limit,
                used=state.hidden.sent,
                window_seconds=state.hidden.longest_seconds,
                resets_at=None,
            )
        )
    return found


def limiter_use(states: Iterable[HostState], now: datetime) -> float | None:
    """Part of all these hosts' budgets that is used, 0 to 1; None where no budget is known."""
    limit = used = 0
    for state in states:
        for budget in budgets_of(state):
            over = budget.resets_at is not None and budget.resets_at <= now
            limit += budget.limit
            used += 0 if over else min(budget.used, budget.limit)
    return round(used / limit, 4) if limit else None


def _pace(host: str, rates: JobRates | None) -> HostRates | None:
    return rates.windows[0].hosts.get(host) if rates is not None and rates.windows else None
