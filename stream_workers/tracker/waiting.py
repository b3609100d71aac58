"""What time alone does to a job: nothing comes though work is due, or its end lies long behind. Pure.

None of it touches a count of the job itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from schemas.job_status import Ledger
from stream_workers.tracker.book import Book
from stream_workers.tracker.status import status_name
from stream_workers.tracker.telling import note


def grow_stale(ledger: Ledger, now: datetime, after: timedelta) -> bool:
    """Marks a job as stale for which nothing has come for so long, though it was due all the time.

    Only for a ledger that all outcomes written so far are entered in: else it is the tracker that is late.
    """
    since = _due_since(ledger)
    if ledger.stale_since is not None or since is None or now - since < after:
        return False
    ledger.stale_since = since
    note(ledger, "stale", now)
    return True


def _due_since(ledger: Ledger) -> datetime | None:
    """Since when something should have come; None for a job that nothing has to come for."""
    if ledger.scheduled or ledger.state == "unknown" or status_name(ledger) not in ("queued", "processing"):
        return None
    times = (ledger.progressed_at, ledger.awaited_since, ledger.due_at)
    return max((time for time in times if time is not None), default=None)


def let_go(book: Book, now: datetime, after: timedelta) -> bool:
    """Gives up what is kept only for so long after a job's end: hosts, samples and events.

    Totals, reasons and the status stay, so that the job is final for everybody, for ever.
    """
    ledger = book.ledger
    if ledger.finished_at is None or now - ledger.finished_at < after:
        return False
    samples = [summary for summary in ledger.errors.values() if summary.samples]
    if not (book.hosts or samples or ledger.history):
        return False
    for summary in samples:
        summary.samples.clear()
    ledger.history.clear()
    book.forget_hosts()
    return True
