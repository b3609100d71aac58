"""What a job's people are told beside its counts: what happened to it, and what its failures look like.

Bounded, and without secrets: details come from documents, hosts and anybody's code.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from schemas.job_status import ErrorSample, ErrorSummary, HistoryEntry, Ledger
from schemas.outcomes import JobEvent, RepoOutcome
from schemas.secrets import mask
from stream_workers.tracker.counting import UNKNOWN

MOST_ENTRIES = 50
MOST_SAMPLES = 3
_SAMPLE_EVERY = timedelta(seconds=1)
LONGEST_DETAIL = 300
"""Characters."""
LONGEST_JOB_DETAIL = 2000
_MASKED_OF = 4
"""A detail is looked through to this multiple of what is kept: a secret may not be cut before it is seen."""


def note(ledger: Ledger, event: str, at: datetime, detail: str | None = None) -> None:
    """Adds to the history, which forgets its oldest entry for it."""
    ledger.history.append(HistoryEntry(at=at, event=event, detail=detail and told(detail)))
    del ledger.history[:-MOST_ENTRIES]


def note_command(ledger: Ledger, event: JobEvent, at: datetime) -> None:
    """Adds what the planner made of a command, or found out."""
    match event.event:
        case "scheduled":
            return  # the job's detail says it, anew after each run
        case "replayed" if event.command is None:
            return  # one of the batches that follow from a command
        case "replayed":
            letters, accounts = numbered(event.letters, "dead letter"), numbered(event.count, "account")
            detail: str | None = f"{letters}, {accounts} so far"
            if refused := sum(map(len, (event.refused or {}).values())):
                detail = f"{detail}; {numbered(refused, 'letter')} refused"
        case "cancelled" if event.forced:
            detail = "at once"
        case _:
            detail = event.detail
    note(ledger, event.event, at, detail)


def note_failure(ledger: Ledger, outcome: RepoOutcome, at: datetime) -> None:
    """Adds a failed attempt to its type's summary; of each reason a late one is kept as a sample."""
    if outcome.error_type is None:
        return
    summary = ledger.errors.setdefault(outcome.error_type, ErrorSummary())
    if outcome.status == "retrying":
        summary.retryable += 1
    else:
        summary.permanent += 1
    reason, full = outcome.reason or UNKNOWN, len(summary.samples) == MOST_SAMPLES
    known = next(
        (one for one in summary.samples if one.reason == reason), summary.samples[-1] if full else None
    )
    if known is not None and at - known.at < _SAMPLE_EVERY:
        return  # a host that is down may fail a million accounts at once, and to mask texts takes its time
    sample = ErrorSample(
        reason=told(reason),
        detail=outcome.detail and told(outcome.detail),
        host=outcome.host and told(outcome.host),
        did=told(outcome.did),
        at=at,
    )
    others = [known for known in summary.samples if known.reason != sample.reason]
    summary.samples = [*others, sample][-MOST_SAMPLES:]


def numbered(number: int | None, what: str) -> str:
    """So many of something, in words."""
    return f"{number or 0:,} {what}" + ("" if number == 1 else "s")


def told(text: str, longest: int = LONGEST_DETAIL) -> str:
    """A text as people may see it: without secrets, and not too long."""
    masked = mask(text[: _MASKED_OF * longest])
    return masked if len(masked) <= longest else masked[: longest - 1] + "…"
