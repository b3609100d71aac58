"""Documents, specifications and tasks with only what a test is about; the rest is as plain as can be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from messaging.task_stream import Task
from schemas.backfill import Backfill
from schemas.dids import DidTask
from schemas.job_specs import JobSpec, JobState
from stream_workers.fetch.schedule import Work

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"


def backfill(**fields: Any) -> Backfill:
    """A document with these keys."""
    plain = {
        "source": {"type": "inline", "dids": [DID]},
        "storage": {"type": "parquet", "path": "out"},
    }
    return Backfill.model_validate(plain | fields)


def job_spec(job_id: str, state: JobState = "active", **fields: Any) -> JobSpec:
    """A job whose document has these keys."""
    return JobSpec(
        job_id=job_id, backfill=backfill(**fields), state=state, submitted_at=datetime(2026, 1, 1, tzinfo=UTC)
    )


def work(
    did: str,
    *,
    job: str = "job",
    host: str = "https://one.test",
    not_before: float | None = None,
    topic: str = "dids",
    partition: int = 0,
    offset: int = 0,
    attempt: int = 1,
    replay: int = 0,
) -> Work:
    """A task as the schedule sees it; `not_before` in seconds since 1970."""
    due = None if not_before is None else datetime.fromtimestamp(not_before, UTC)
    task = DidTask(job_id=job, did=did, pds=host, signing_key="did:key:z", not_before=due, attempt=attempt)
    task = task.model_copy(update={"replay": replay})
    return work_of(task, topic, partition, offset)


def work_of(task: DidTask, topic: str = "dids", partition: int = 0, offset: int = 0) -> Work:
    """A task as if it had been delivered from there."""
    return Work(Task(topic, partition, offset, 1, task.pds, task.encode()), task)
