"""Which dead letters were replayed: the planner's memory that a letter is replayed once, however often asked.

Read back from `replays` on taking over, then kept in step with what the planner commits. Of a replay that is
done with, no more is kept than its letter's id: there may be millions.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from messaging.names import Names
from messaging.views import CompactedView
from schemas.replays import Lot, Replay
from schemas.settings import KafkaSettings

_DONE = Replay(letter="", job_id="", asked_at=datetime.fromtimestamp(0, UTC), command=0)
"""Stands for any replay with nothing left to be known."""


class Traces:
    """Life: made, `restore` on each taking over, then `take` what was committed."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Nothing is read before `restore`."""
        self._kafka = kafka
        self._letters: set[str] = set()
        self._pending: dict[str, Replay] = {}
        self._lots: dict[tuple[str, str, str], Lot] = {}

    def restore(self) -> None:
        """Reads everything to its end. Raises DeploymentError where that can't be done."""
        self._letters, self._pending, self._lots = set(), {}, {}
        view = CompactedView(self._kafka, Names(self._kafka.topic_prefix).replays, _slim)
        try:
            view.catch_up()
            for letter, replay in view.items.items():
                self._take(letter, replay)
        finally:
            view.close()

    def take(self, replays: Iterable[Replay]) -> None:
        """What this planner has just committed."""
        for replay in replays:
            self._take(replay.letter, replay)

    def replayed(self, letter: str) -> bool:
        """Whether a letter was replayed, or is being replayed."""
        return letter in self._letters

    def is_pending(self, letter: str) -> bool:
        """Whether the planner still has something to do for a letter."""
        return letter in self._pending

    def pending(self, job_id: str) -> list[Replay]:
        """A job's replays that the planner still has something to do for, the oldest first."""
        found = [replay for replay in self._pending.values() if replay.job_id == job_id]
        return sorted(found, key=lambda replay: replay.command)

    def pending_jobs(self) -> set[str]:
        """The jobs with such replays."""
        return {replay.job_id for replay in self._pending.values()}

    def gathering(self, job_id: str) -> int:
        """Hosts given up whose accounts of a job are still being gathered."""
        return sum(replay.job_id == job_id and replay.lot is not None for replay in self._pending.values())

    def dealt_with(self, job_id: str, host: str, reason: str) -> int:
        """Offset in the job's `outcomes` up to which what failed at a host for a reason was replayed."""
        lot = self._lots.get((job_id, host, reason))
        return lot.until if lot is not None else 0

    def _take(self, letter: str, replay: Replay) -> None:
        self._letters.add(letter)
        if replay.lot is not None:
            key = (replay.job_id, replay.lot.host, replay.lot.reason)
            known = self._lots.get(key)
            if known is None or replay.lot.until >= known.until:
                self._lots[key] = replay.lot
        if replay.pending:
            self._pending[letter] = replay
        else:
            self._pending.pop(letter, None)


def _slim(value: bytes) -> Replay:
    replay = Replay.decode(value)
    return replay if replay.pending or replay.lot else _DONE
