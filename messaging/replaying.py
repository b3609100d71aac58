"""Which dead letters are meant, which of them may be replayed, and the commands that ask for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from schemas.deadletter import DeadLetter, LetterId
from schemas.jobs import MOST_LETTERS, JobMessage
from schemas.replays import Replay

_LETTER_BYTES = 60 * 1024
"""Of the ids in one command."""


@dataclass(frozen=True)
class Chosen:
    """Which dead letters are meant; what is absent makes no difference."""

    job: str | None = None
    host: str | None = None
    reason: str | None = None
    error_type: str | None = None
    stage: str | None = None
    did: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    replayed: bool | None = None

    @property
    def all(self) -> bool:
        """Whether nothing is chosen, and so everything."""
        return self == Chosen()

    def holds(self, letter_id: LetterId, letter: DeadLetter, replays: Mapping[str, Replay]) -> bool:
        """Whether a letter is meant."""
        equal = (
            (self.job, letter.job_id),
            (self.reason, letter.reason),
            (self.error_type, letter.error_type),
            (self.stage, letter.stage),
            (self.did, letter.did),
        )
        if any(wanted is not None and wanted != found for wanted, found in equal):
            return False
        if self.host is not None and not _is_host(self.host, letter.host):
            return False
        if (self.since and letter.at < self.since) or (self.until and letter.at >= self.until):
            return False
        return self.replayed is None or self.replayed == (str(letter_id) in replays)


@dataclass
class SortedOut:
    """Letters that may be replayed, by job, and how many may not, by the reason."""

    jobs: dict[str, list[LetterId]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """All that may be replayed."""
        return sum(map(len, self.jobs.values()))


def sorted_out(
    letters: Iterable[tuple[LetterId, DeadLetter]],
    replays: Mapping[str, Replay],
    cancelled: Collection[str],
    *,
    named: bool,
) -> SortedOut:
    """The planner judges each letter again; this spares it what can be known here.

    `cancelled` are the jobs that are; `named`: each letter was asked for by its id.
    """
    found = SortedOut()
    for letter_id, letter in letters:
        why = letter.why_not_replayable()
        known = replays.get(str(letter_id))
        if why is None and letter.job_id in cancelled:
            why = "its job was cancelled, which is final"
        # A host's letter stands for whatever ended there since: it may be replayed again by its name.
        if why is None and known is not None and (not letter.is_lot or known.pending or not named):
            why = "already replayed"
        if why is None:
            found.jobs.setdefault(letter.job_id or "", []).append(letter_id)
            found.reasons[letter.reason] += 1
        else:
            found.skipped[why] += 1
    return found


def replay_commands(jobs: Mapping[str, Iterable[LetterId]]) -> Iterator[tuple[str, JobMessage]]:
    """As many as it takes, each with its job's id and small enough for one transaction."""
    for job_id, ids in sorted(jobs.items()):
        part: list[str] = []
        size = 0
        for name in map(str, sorted(ids)):
            if len(part) == MOST_LETTERS or size + len(name) + 3 > _LETTER_BYTES:
                yield job_id, JobMessage(action="replay", letters=part)
                part, size = [], 0
            part.append(name)
            size += len(name) + 3
        yield job_id, JobMessage(action="replay", letters=part)


def _is_host(wanted: str, origin: str | None) -> bool:
    if origin is None:
        return False
    place = urlsplit(origin)
    return wanted.rstrip("/").lower() in (origin, place.netloc, place.hostname)
