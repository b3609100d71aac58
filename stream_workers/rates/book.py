"""The windows of all jobs, and whose figures are due to be published. Pure: the caller says what time it is.

What may never break: memory is bounded, and whatever lies in `outcomes`, it is counted or skipped, never an
error. A job that has gone quiet is told until its figures have fallen to zero, then forgotten.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from pydantic import ValidationError

from schemas.outcomes import JobEvent, PlanOutcome, RepoOutcome, decode_outcome
from schemas.rates import JobRates
from stream_workers.rates.windows import LONGEST, JobWindows

MOST_JOBS = 100
"""Of one process; beyond, the one that was quiet for longest is forgotten."""
BEAT_SECONDS = 20.0
"""How often a job is told that does nothing, so that its reader sees a process at work."""
_LONGEST_ID = 256
_MOST = 2**53
"""Records, bytes or seconds of one account: beyond, sums of them would be no numbers any more."""


class _Job:
    """A job of one partition."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.windows = JobWindows()
        self.heard_at = 0.0
        self.told_at: float | None = None
        self.moving = True
        """Something has come since it was told, or what was told will fall soon."""


class RateBook:
    """Life: `enter` outcomes as they come, publish what is `due` now and then; `keep` what is still ours."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self.malformed = 0
        """Messages that were no outcomes."""
        self.late = 0
        """Outcomes that were too old for any window."""

    def __len__(self) -> int:
        return len(self._jobs)

    def enter(self, partition: int, key: str, value: bytes | None, at: float, now: float) -> bool:
        """Counts one message, written at `at` (seconds since 1970); False if it is no outcome of its key."""
        try:
            outcome = decode_outcome(value or b"")
        except ValidationError:
            outcome = None
        if outcome is None or outcome.job_id != key or not _sane(outcome):
            self.malformed += 1
            return False
        if at <= now - LONGEST:
            self.late += 1
            return True
        job = self._job(outcome.job_id, partition)
        job.heard_at, job.moving = max(job.heard_at, min(at, now)), True
        if isinstance(outcome, RepoOutcome):
            job.windows.add(outcome, at, now)
        return True

    def of(self, job_id: str, now: float) -> JobRates | None:
        """A job's figures; None if nothing was heard of it lately."""
        job = self._jobs.get(job_id)
        return None if job is None else self._rates(job_id, job, now)

    def all(self, now: float) -> list[JobRates]:
        """Every job's figures."""
        return [self._rates(job_id, job, now) for job_id, job in self._jobs.items()]

    def due(self, now: float) -> list[JobRates]:
        """What is to be published now. A job whose last outcome lies behind all windows is told once more."""
        due = []
        for job_id, job in list(self._jobs.items()):
            over = job.heard_at <= now - LONGEST
            if not (over or job.moving or job.told_at is None or now - job.told_at >= BEAT_SECONDS):
                continue
            rates = self._rates(job_id, job, now)
            job.told_at = now
            job.moving = rates.windows[0].repositories > 0 or bool(rates.windows[0].errors)
            due.append(rates)
            if over:
                del self._jobs[job_id]
        return due

    def keep(self, partitions: Collection[int]) -> None:
        """Forgets the jobs of all other partitions: another process counts them now."""
        for job_id, job in list(self._jobs.items()):
            if job.partition not in partitions:
                del self._jobs[job_id]

    def _job(self, job_id: str, partition: int) -> _Job:
        if (known := self._jobs.get(job_id)) is not None:
            return known
        if len(self._jobs) >= MOST_JOBS:
            del self._jobs[min(self._jobs, key=lambda one: self._jobs[one].heard_at)]
        return self._jobs.setdefault(job_id, _Job(partition))

    @staticmethod
    def _rates(job_id: str, job: _Job, now: float) -> JobRates:
        return JobRates(
            job_id=job_id, windows=job.windows.rates(now), updated_at=datetime.fromtimestamp(now, UTC)
        )


def _sane(outcome: RepoOutcome | PlanOutcome | JobEvent) -> bool:
    """Whether rates can be made of it: a schema allows figures that no account can have."""
    if len(outcome.job_id) > _LONGEST_ID:
        return False
    if not isinstance(outcome, RepoOutcome):
        return True
    figures = (outcome.seconds, outcome.bytes, *outcome.records.values())
    return all(0 <= figure <= _MOST for figure in figures)  # which NaN is not, either
