"""The accounts of a job as `outcomes` tells of them: what became of each, in the order in which it ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from messaging.polling import Delivered
from schemas.outcomes import RepoOutcome, decode_outcome


def terminal_outcomes(job_id: str, messages: Iterable[Delivered]) -> Iterator[RepoOutcome]:
    """The job's terminal outcomes among messages of the topic. Others, and what is none, are passed over."""
    for message in messages:
        if message.key != job_id:
            continue
        try:
            outcome = decode_outcome(message.value or b"")
        except ValidationError:
            continue  # the tracker set it aside, and did not count it
        if isinstance(outcome, RepoOutcome) and outcome.job_id == job_id and outcome.status != "retrying":
            yield outcome
