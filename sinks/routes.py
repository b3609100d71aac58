"""Where a job's rows go. A job's document never changes once it has started, so what is learnt stays true."""

from __future__ import annotations

from collections.abc import Callable

from messaging.views import CompactedView
from schemas.backfill import Backfill
from schemas.job_specs import JobSpec


class Routes:
    """Job ids and their destinations, from the view of `job-specs`. For one thread."""

    def __init__(
        self, specs: CompactedView[JobSpec], destinations: Callable[[Backfill], tuple[str, ...]]
    ) -> None:
        """`destinations` is the sink's own."""
        self._specs, self._destinations = specs, destinations
        self._known: dict[str, tuple[str, ...] | None] = {}

    def of(self, job: str) -> tuple[str, ...] | None:
        """The job's destinations, maybe none; None for a job that nobody has ever started.

        A spec is published before the job's first task, so a job that is not in the view once the view has
        been read to its end will never be. Raises DeploymentError if that end can't be reached.
        """
        if job not in self._known:
            if job not in self._specs.items:
                self._specs.catch_up()
            spec = self._specs.items.get(job)
            self._known[job] = None if spec is None else self._destinations(spec.backfill)
        return self._known[job]
