"""How a job stands, in a sentence or two for people."""

from __future__ import annotations

from schemas.job_status import JobStatus


def explain(status: JobStatus) -> str:
    """What has become of a job so far, and why."""
    done = f"{status.totals.terminal:,} of {status.total:,} accounts have ended"
    words = {
        "queued": "The job waits for its turn.",
        "processing": f"The job is under way: {done}.",
        "paused": f"The job is paused: {done}.",
        "complete": f"The job is complete: {done}.",
        "partial_success": f"The job has ended with failures: {status.totals.failed:,} accounts failed.",
        "error": "The job could not be done.",
        "cancelled": f"The job was cancelled: {done}.",
    }
    return words[status.status] + (f" {status.detail}" if status.detail else "")
