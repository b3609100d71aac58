"""How a job stands and why, in a sentence."""

from __future__ import annotations

from schemas.job_status import JobStatus


def explain(status: JobStatus) -> str:
    """One or two plain sentences."""
    totals = status.totals
    text = f"The job is {status.status}: {totals.terminal:,} of {status.total:,} accounts are done with"
    text += f", {totals.failed:,} of them failed." if totals.failed else "."
    return f"{text} {status.detail}" if status.detail else text
