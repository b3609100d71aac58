"""All that the planner does for replays of dead letters: answers commands, and looks up what has to be.

Its three parts share one memory of what was replayed, which is in step with what the planner has committed:
everything that is handed out here has to be committed, or the process has to end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from messaging.names import Names
from producers.chunk import Publication
from producers.commands import Verdict
from producers.lookups import Lookups
from producers.planned_jobs import PlannedJobs
from producers.replays import Replays
from producers.resolve import Resolves
from producers.traces import Traces
from schemas.settings import Settings


class Replaying:
    """Life: made, `restore` on each taking over, then `answer` commands and take turns; `drop` on losing the
    place; `close`."""

    def __init__(
        self,
        settings: Settings,
        jobs: PlannedJobs,
        resolver: Resolves,
        *,
        most_waiting: int,
        only_job: str | None,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        """Looks nothing up for a job with more than `most_waiting` tasks. `only_job`: for no other job."""
        self._names = Names(settings.kafka.topic_prefix)
        self._jobs, self._now = jobs, now
        self._most_waiting, self._only_job = most_waiting, only_job
        self._traces = Traces(settings.kafka)
        self._replays = Replays(settings.kafka, self._traces)
        self._lookups = Lookups(
            settings.kafka,
            self._traces,
            jobs,
            resolver,
            concurrency=settings.network.plc_concurrency,
            now=now,
            monotonic=monotonic,
        )

    def restore(self) -> None:
        """Reads back what was replayed. Raises DeploymentError where that can't be done."""
        self._traces.restore()

    async def drop(self, job_id: str | None = None) -> None:
        """Forgets the work in progress; with `job_id`, only if it is that job's."""
        await self._lookups.drop(job_id)

    def close(self) -> None:
        """Leaves the topics."""
        self._replays.close()

    def answer(self, verdict: Verdict, command: int) -> tuple[Verdict, list[Publication]]:
        """Reads and judges the letters of a verdict, `command` being the command's offset.

        Returns the verdict with what is to be told of it, and what is to be published after it.
        """
        spec = self._jobs.spec(verdict.job_id)
        assert spec is not None  # or the command was refused
        ended = self._jobs.ended(spec.job_id)
        answer = self._replays.answer(verdict, spec, command, self._now(), ended=ended)
        self._traces.take(answer.traces)
        if answer.traces:
            self._jobs.reopen(spec.job_id, answer.accounts)
        return answer.verdict, answer.publications(self._names)

    @property
    def has_turn(self) -> bool:
        """Whether there is something to look up now."""
        return self._lookups.next_job(self._most_waiting, self._only_job) is not None

    def idle(self) -> bool:
        """Whether nothing is left to be looked up but for jobs that are paused."""
        return self._lookups.idle(self._only_job)

    async def turn(self, patience: float) -> list[Publication]:
        """What is to be published for one batch of one job's replays; nothing if none is ready within
        `patience` seconds."""
        spec = self._lookups.next_job(self._most_waiting, self._only_job)
        batch = None if spec is None else await self._lookups.batch(spec, patience)
        if batch is None:
            return []
        self._traces.take(batch.traces)
        if batch.announced is not None:
            self._jobs.reopen(batch.job_id, batch.announced)
        return batch.publications(self._names, self._now(), self._traces.gathering(batch.job_id))
