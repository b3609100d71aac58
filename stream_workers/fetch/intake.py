"""Messages of `dids` as work; what is no task, or belongs to no job, as what it will be dead-lettered for."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from messaging.task_stream import Task
from schemas.deadletter import payload_text
from schemas.dids import DidTask
from stream_workers.fetch.ending import Unreadable
from stream_workers.fetch.jobs import Jobs
from stream_workers.fetch.schedule import Work

_DETAIL = 2000
_NO_TASK = DidTask(job_id="", did="", pds="", signing_key="")

Broken = tuple[Work, Unreadable]


def take_in(tasks: Iterable[Task], jobs: Jobs) -> tuple[list[Work], list[Broken]]:
    """What is to be done, and what can't be. Waits for the specification of a job that is unknown."""
    works: list[Work] = []
    broken: list[Broken] = []
    for task in tasks:
        try:
            works.append(Work(task, DidTask.decode(task.value)))
        except ValidationError as error:
            ending = Unreadable("ValidationError", str(error)[:_DETAIL], payload_text(task.value))
            broken.append((Work(task, _NO_TASK), ending))
    orphans = jobs.ensure({work.did_task.job_id for work in works})
    for work in works:
        what = work.did_task
        if what.job_id in orphans:
            detail = f"no job {what.job_id} was ever started"[:_DETAIL]
            text = payload_text(work.task.value)
            ending = Unreadable("UnknownJob", detail, text, what.job_id[:_DETAIL], what.did[:_DETAIL])
            broken.append((work, ending))
    return [work for work in works if work.did_task.job_id not in orphans], broken
