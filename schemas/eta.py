"""When a job will be done at its present pace. What can't be told is None, never 0."""

from __future__ import annotations

from schemas.job_status import JobStatus
from schemas.rates import JobRates, RateWindow


def seconds_left(job: JobStatus, rates: JobRates | None) -> float | None:
    """Seconds until the last account has ended; None where the pace, or the plan's end, is not known."""
    if rates is None or job.final or job.status == "paused" or not job.plan_finished or job.outstanding <= 0:
        return None
    window = shortest_with_data(rates)
    if window is None or window.repositories_per_second <= 0:
        return None
    return max(1.0, job.outstanding / window.repositories_per_second)


def shortest_with_data(rates: JobRates) -> RateWindow | None:
    """The shortest window in which an account has ended."""
    return next((window for window in rates.windows if window.repositories), None)
