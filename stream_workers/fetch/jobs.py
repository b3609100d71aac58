"""What the worker knows of the jobs: their specifications as the planner last wrote them, and selections."""

from __future__ import annotations

from messaging.views import CompactedView
from schemas.job_specs import JobSpec
from stream_workers.fetch.selection import Selection


class Jobs:
    """Kept up to date by the consumer's thread; read by all."""

    def __init__(self, view: CompactedView[JobSpec]) -> None:
        """`view` is of the topic `job-specs`."""
        self._view = view
        self._selections: dict[str, Selection] = {}

    def refresh(self) -> set[str]:
        """Takes in what is new; returns the ids of changed jobs."""
        return self._view.poll()

    def ensure(self, job_ids: set[str]) -> set[str]:
        """Waits for the view's end if one of these is unknown; returns those that do not exist even so."""
        if job_ids - self._view.items.keys():
            self._view.catch_up()
        return job_ids - self._view.items.keys()

    def spec(self, job_id: str) -> JobSpec | None:
        """The job as it stands."""
        return self._view.items.get(job_id)

    def selection(self, spec: JobSpec) -> Selection:
        """The job's selection, made once: a job's document never changes."""
        found = self._selections.get(spec.job_id)
        if found is None:
            found = self._selections[spec.job_id] = Selection(spec.backfill)
        return found

    def close(self) -> None:
        """Leaves the topic."""
        self._view.close()
