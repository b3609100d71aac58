"""What tests of sources stand on: documents to sources, and pages read to their end or to a cursor."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from atp.retry import Backoff
from atp.xrpc import Client
from producers.sources import AccountSource, Reach, open_source
from producers.sources.base import Page
from schemas.backfill import Backfill
from schemas.errors import SourceError
from schemas.job_specs import JobSpec
from schemas.job_status import JobStatus
from schemas.settings import NetworkSettings, S3Settings, Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Jobs:
    """A book of jobs, as the planner would have it."""

    def __init__(self) -> None:
        self.specs: dict[str, JobSpec] = {}
        self.statuses: dict[str, JobStatus] = {}

    def spec(self, job_id: str) -> JobSpec | None:
        return self.specs.get(job_id)

    def status(self, job_id: str) -> JobStatus | None:
        return self.statuses.get(job_id)


async def at_once(seconds: float) -> None:
    """Waits no time."""


def reach_of(
    data_dir: Path,
    client: Client | None = None,
    *,
    relay: str = "http://127.0.0.1:9",
    s3: str | None = None,
    jobs: Jobs | None = None,
    **settings: Any,
) -> Reach:
    """Surroundings whose patience takes no time."""
    whole = Settings(
        data_dir=data_dir,
        network=NetworkSettings(relay_url=relay, allow_private_hosts=True),
        s3=S3Settings(endpoint_url=s3),
        **settings,
    )
    patient = Backoff(attempts=3, sleep=at_once)
    return Reach(whole, client, jobs or Jobs(), backoff=patient, relay_backoff=patient)


def spec_of(source: Mapping[str, Any], *, page: int = 5000, job_id: str = "job", **sections: Any) -> JobSpec:
    """A job over a source; its pages hold `page` entries at the most."""
    document = {
        "source": source,
        "storage": {"type": "parquet", "path": "out"},
        "processing": {"batch_size": page, "requests_per_second": 10_000},
    }
    return JobSpec(job_id=job_id, backfill=Backfill.model_validate(document | sections), submitted_at=NOW)


def source_of(source: Mapping[str, Any], reach: Reach, *, page: int = 5000, **sections: Any) -> AccountSource:
    """The source of a document's section."""
    return open_source(spec_of(source, page=page, **sections), reach)


async def read(pages: AsyncGenerator[Page, None]) -> list[Page]:
    """All pages there are."""
    return [page async for page in pages]


async def read_some(source: AccountSource, count: int, after: str | None = None) -> list[Page]:
    """The first pages, then the source is left alone."""
    found: list[Page] = []
    async with aclosing(source.pages(after)) as pages:
        async for page in pages:
            found.append(page)
            if len(found) == count:
                break
    return found


def accounts(pages: list[Page]) -> list[str]:
    return [entry.account for page in pages for entry in page.entries]


def left_out(pages: list[Page]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for page in pages:
        for reason, number in page.left_out.items():
            counts[reason] = counts.get(reason, 0) + number
    return counts


async def refusal(source: AccountSource, after: str | None = None) -> str:
    """What a source says when it can't be read."""
    with pytest.raises(SourceError) as caught:
        await read(source.pages(after))
    return str(caught.value)
