"""The answers about jobs and hosts. What is not known is null, never 0; times are UTC, rates per second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from api.boards import Job
from api.host_views import HostView, host_view, limiter_use
from schemas.eta import seconds_left
from schemas.explain import explain
from schemas.hosts import HostState
from schemas.job_status import ErrorSummary, HistoryEntry, JobHost, JobStatus, Status
from schemas.rates import JobRates, RateWindow

MOST_HOSTS = 20
"""Of a job, in its view; `…/hosts` has all."""

At = Annotated[
    datetime,
    PlainSerializer(lambda at: at.astimezone(UTC).isoformat().replace("+00:00", "Z"), return_type=str),
]


class View(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)


class JobSummary(View):
    """A job in a line."""

    job_id: str
    name: str | None
    status: Status
    explanation: str = Field(description="How the job stands, in a sentence or two.")
    total: int = Field(description="Accounts planned so far; final once `plan_finished`.")
    plan_finished: bool
    completed: int
    skipped: int
    unavailable: int
    failed: int
    cancelled: int
    retrying: int
    scheduled: bool = Field(description="It is a schedule, which starts jobs of its own.")
    outstanding: int = Field(description="Accounts that have not ended.")
    percent: float | None = Field(description="Of the accounts planned so far; null while there are none.")
    records: int
    bytes: int
    records_per_second: float | None = Field(description="Over the last minute; null: not known.")
    repositories_per_second: float | None
    eta_seconds: float | None = Field(
        description="Until all have ended at the present pace; null: not known."
    )
    submitted_at: At | None
    started_at: At | None
    finished_at: At | None
    stale_since: At | None = Field(description="Since when nothing has come though work is due.")
    updated_at: At


class JobList(View):
    """A page of jobs, the newest first."""

    jobs: list[JobSummary]
    next_cursor: str | None = Field(description="`cursor` of the next page; null: there is none.")


class Progress(View):
    """Accounts by what became of them."""

    total: int
    plan_finished: bool
    completed: int
    skipped: int
    unavailable: int
    failed: int
    cancelled: int
    retrying: int = Field(description="Failed at least once, with attempts left; among `current`.")
    current: int = Field(description="Under way or waiting: planned and not ended.")
    replaying: int = Field(description="Being tried again; they count as failed until they end.")
    percent: float | None
    duplicates: int = Field(description="Accounts that the source names more than once.")
    left_out: dict[str, int] = Field(description="What the source holds and is no account, by reason.")
    unavailable_by: dict[str, int]
    failed_by: dict[str, int]


class RecordTypes(View):
    """Records published, by collection, and what was not."""

    records: int
    bytes: int
    by_type: dict[str, int]
    dropped: dict[str, int] = Field(description="Records not published, by reason.")


class ErrorView(View):
    """Attempts that failed with one error type."""

    type: str
    attempts: int
    retryable: int | None = Field(description="After which another attempt was to come; null: not known.")
    permanent: int | None = Field(description="That were an account's last.")
    samples: list[dict[str, Any]] = Field(description="The latest few, without secrets.")


class Performance(View):
    """How fast the job goes."""

    windows: list[RateWindow] = Field(description="The last minute, five minutes and hour; approximate.")
    records_per_second: float | None
    repositories_per_second: float | None
    limiter_use: float | None = Field(description="Part of its hosts' budgets that is used, 0 to 1.")
    cache_hit_rate: float | None = Field(description="Part of the accounts that were known without asking.")
    eta_seconds: float | None
    rates_at: At | None = Field(description="When the rates were told.")


class JobView(View):
    """A job as it stands."""

    job_id: str
    name: str | None
    status: Status
    explanation: str
    detail: str | None
    progress: Progress
    scope: dict[str, Any] | None
    source: dict[str, Any] | None
    strategy: str | None
    wanted_record_types: list[str] | None = Field(description="Of the document; empty: all.")
    time_range: dict[str, Any] | None
    record_types: RecordTypes
    hosts: list[HostView] = Field(description=f"The {MOST_HOSTS} with the most accounts.")
    hosts_total: int
    errors: list[ErrorView]
    performance: Performance
    outputs: list[dict[str, Any]]
    newest_rev: str | None
    scheduled: bool = Field(description="It is a schedule, which starts jobs of its own.")
    submitted_at: At | None
    started_at: At | None
    finished_at: At | None
    cancelled_at: At | None = Field(description="When it was asked to end.")
    progressed_at: At | None = Field(description="When the last account ended or was planned.")
    due_at: At | None = Field(description="The latest time at which a next attempt is due.")
    stale_since: At | None
    updated_at: At
    history: list[HistoryEntry]


def summary_of(job: Job, rates: JobRates | None) -> JobSummary:
    """A job in a line."""
    status, totals = job.status, job.status.totals
    window = _pace(status, rates)
    return JobSummary(
        job_id=status.job_id,
        name=status.name,
        status=status.status,
        explanation=explain(status),
        total=status.total,
        plan_finished=status.plan_finished,
        completed=totals.completed,
        skipped=totals.skipped,
        unavailable=totals.unavailable,
        failed=totals.failed,
        cancelled=totals.cancelled,
        retrying=totals.retrying,
        scheduled=status.scheduled,
        outstanding=max(0, status.outstanding),
        percent=_percent(status),
        records=totals.records,
        bytes=totals.bytes,
        records_per_second=window.records_per_second if window else None,
        repositories_per_second=window.repositories_per_second if window else None,
        eta_seconds=seconds_left(status, rates),
        submitted_at=status.submitted_at,
        started_at=status.started_at,
        finished_at=status.finished_at,
        stale_since=status.stale_since,
        updated_at=status.updated_at,
    )


def view_of(
    job: Job, rates: JobRates | None, parts: Mapping[str, JobHost], hosts: Mapping[str, HostState]
) -> JobView:
    """A job with all that is known of it. `parts` are its hosts', `hosts` what workers know of all hosts."""
    status, backfill = job.status, job.backfill
    document = backfill.model_dump(mode="json") if backfill else None
    largest = largest_first(parts.values())[:MOST_HOSTS]
    return JobView(
        job_id=status.job_id,
        name=status.name,
        status=status.status,
        explanation=explain(status),
        detail=status.detail,
        progress=_progress(status),
        scope=document and document["scope"],
        source=document and _short_source(document["source"]),
        strategy=backfill.processing.strategy if backfill else None,
        wanted_record_types=backfill.record_types if backfill else None,
        time_range=document and document["time_range"],
        record_types=RecordTypes(
            records=status.totals.records,
            bytes=status.totals.bytes,
            by_type=status.totals.by_type,
            dropped=status.totals.dropped,
        ),
        hosts=[host_view(part, hosts.get(part.host), rates, datetime.now(UTC)) for part in largest],
        hosts_total=len(parts),
        errors=_errors(status.errors, status.totals.errors),
        performance=_performance(status, rates, parts, hosts),
        outputs=document["storage"] if document else [],
        newest_rev=status.newest_rev,
        scheduled=status.scheduled,
        cancelled_at=status.cancelled_at,
        due_at=status.due_at,
        submitted_at=status.submitted_at,
        started_at=status.started_at,
        finished_at=status.finished_at,
        progressed_at=status.progressed_at,
        stale_since=status.stale_since,
        updated_at=status.updated_at,
        history=status.history,
    )


def largest_first(parts: Iterable[JobHost]) -> list[JobHost]:
    """By accounts, then by name."""
    return sorted(parts, key=lambda part: (-max(part.planned, part.counts.terminal), part.host))


def _progress(status: JobStatus) -> Progress:
    totals = status.totals
    return Progress(
        total=status.total,
        plan_finished=status.plan_finished,
        completed=totals.completed,
        skipped=totals.skipped,
        unavailable=totals.unavailable,
        failed=totals.failed,
        cancelled=totals.cancelled,
        retrying=totals.retrying,
        current=max(0, status.outstanding),
        replaying=status.replaying,
        percent=_percent(status),
        duplicates=status.duplicates,
        left_out=status.left_out,
        unavailable_by=totals.unavailable_by,
        failed_by=totals.failed_by,
    )


def _percent(status: JobStatus) -> float | None:
    if not status.total:
        return None
    return round(100 * max(0, status.total - max(0, status.outstanding)) / status.total, 2)


def _pace(status: JobStatus, rates: JobRates | None) -> RateWindow | None:
    """The last minute; None where nothing is told, or nothing can move."""
    return rates.windows[0] if rates is not None and rates.windows and not status.final else None


def _performance(
    status: JobStatus, rates: JobRates | None, parts: Mapping[str, JobHost], hosts: Mapping[str, HostState]
) -> Performance:
    window = _pace(status, rates)
    known = [hosts[host] for host in parts if host in hosts]
    return Performance(
        windows=rates.windows if rates else [],
        records_per_second=window.records_per_second if window else None,
        repositories_per_second=window.repositories_per_second if window else None,
        limiter_use=limiter_use(known, datetime.now(UTC)),
        cache_hit_rate=_cache_hit_rate(status),
        eta_seconds=seconds_left(status, rates),
        rates_at=rates.updated_at if rates else None,
    )


def _cache_hit_rate(status: JobStatus) -> float | None:
    """Of the entries that had to be resolved, how many were known from cache or mirror."""
    known, asked = status.resolved.get("known", 0), status.resolved.get("directory", 0)
    return round(known / (known + asked), 4) if known + asked else None


def _errors(summaries: Mapping[str, ErrorSummary], counts: Mapping[str, int]) -> list[ErrorView]:
    found = []
    for kind in {*summaries, *counts}:
        summary = summaries.get(kind)
        attempts = counts.get(kind, 0)
        found.append(
            ErrorView(
                type=kind,
                attempts=max(attempts, summary.retryable + summary.permanent) if summary else attempts,
                retryable=summary.retryable if summary else None,
                permanent=summary.permanent if summary else None,
                samples=[sample.model_dump(mode="json") for sample in summary.samples] if summary else [],
            )
        )
    return sorted(found, key=lambda one: (-one.attempts, one.type))


def _short_source(source: dict[str, Any]) -> dict[str, Any]:
    """A job's source without a list of accounts that may be long: their number stands in its place."""
    return {
        key: f"{len(value)} in the document" if key in ("dids", "handles") else value
        for key, value in source.items()
    }
