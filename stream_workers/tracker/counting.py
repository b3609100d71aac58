"""Counting by name, bounded whatever comes: anybody's code may write outcomes, and hosts choose names.

A sum never depends on the bounds: what has no place of its own counts under `(others)`.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.job_status import OTHERS, Counts
from schemas.outcomes import Replaced, RepoOutcome

UNKNOWN = "unknown"
"""Stands for a reason that nobody told."""
LONGEST_NAME = 320
"""Characters; a collection's name has 317 at the most."""
MOST_HOSTS = 20_000
"""Of one job, each a message of its own."""
MOST_TYPES = 500
"""Collections of a job; the largest have some hundreds."""
MOST_TYPES_OF_HOST = 200
MOST_REASONS = 100


def add(counts: dict[str, int], more: Mapping[str, int], most: int) -> None:
    """Adds numbers by name; names beyond the first `most` count together."""
    for name, number in more.items():
        place = _place(counts, name, most)
        counts[place] = counts.get(place, 0) + number


def take_back(counts: dict[str, int], name: str) -> None:
    """One less; where the name has no place of its own, the others have it."""
    for place in (name, OTHERS):
        if (number := counts.get(place, 0)) > 0:
            counts[place] = number - 1
            if number == 1:
                del counts[place]
            return


def count(counts: Counts, outcome: RepoOutcome, most_types: int) -> None:
    """Enters an outcome into the counts of its job or of its host, but for how many are `retrying`."""
    if outcome.error_type:
        add(counts.errors, {outcome.error_type: 1}, MOST_REASONS)
    if outcome.status != "retrying":
        setattr(counts, outcome.status, getattr(counts, outcome.status) + 1)
    if outcome.status == "unavailable":
        add(counts.unavailable_by, {outcome.reason or UNKNOWN: 1}, MOST_REASONS)
    elif outcome.status == "failed":
        add(counts.failed_by, {outcome.error_type or UNKNOWN: 1}, MOST_REASONS)
    counts.records += sum(outcome.records.values())
    counts.bytes += outcome.bytes
    add(counts.by_type, outcome.records, most_types)
    add(counts.dropped, outcome.dropped, MOST_REASONS)


def uncount(counts: Counts, replaced: Replaced) -> None:
    """A former end counts no more. Its attempts did fail, and stay counted."""
    if counts.failed > 0:
        counts.failed -= 1
        take_back(counts.failed_by, replaced.error_type or UNKNOWN)


def _place(counts: Mapping[str, int], name: str, most: int) -> str:
    if name in counts:
        return name
    return name if len(counts) < most and len(name) <= LONGEST_NAME else OTHERS
