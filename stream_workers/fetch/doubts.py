"""Failures of which nobody can say yet whether the account is to blame, or its host.

The first accounts that meet a host's outage must not pay for it with an attempt. So such a failure is kept
for a moment: if the host answers others meanwhile, it was the account; if its breaker opens, it was the host.
If neither, the account goes again, unless it is alone there: then nobody else will ever tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stream_workers.fetch.ending import Failed, Retry
from stream_workers.fetch.hosts import Host
from stream_workers.fetch.schedule import Work

SECONDS = 1.0
"""A failure is kept for so long."""


@dataclass(frozen=True)
class _Doubt:
    ending: Failed | Retry
    answers: int
    openings: int
    """Those of the host and its breaker when the account failed."""


class Doubts:
    """Life of one: `keep`, then `settle`, once the task is due again."""

    def __init__(self) -> None:
        self._kept: dict[Work, _Doubt] = {}

    def keep(self, work: Work, ending: Failed | Retry, host: Host) -> None:
        """The task failed like this; it comes back in a moment."""
        self._kept[work] = _Doubt(ending, host.answers, host.breaker.openings)

    def settle(self, work: Work, host: Host, *, others: bool) -> Failed | Retry | None:
        """What the task ends with, if it was the account's failure; None: it goes, or goes again.

        `others`: whether further accounts wait or run at the host.
        """
        doubt = self._kept.pop(work, None)
        if doubt is None or host.breaker.is_open or host.breaker.openings > doubt.openings:
            return None
        alone = not others and host.breaker.accounts_in_row < 2
        return doubt.ending if host.answers > doubt.answers or alone else None

    def forget(self, work: Work) -> None:
        """The task went elsewhere."""
        self._kept.pop(work, None)

    def drop(self, wanted: Callable[[Work], bool]) -> None:
        """Forgets those for which `wanted` is false: their tasks went elsewhere."""
        self._kept = {work: doubt for work, doubt in self._kept.items() if wanted(work)}
