"""Whether this process may still believe that the partitions are its own.

A process that stood still (stopped, swapped out, a suspended machine) wakes up in the middle of a write
while another owner has long gone on. It has to notice before its next request, and end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NoReturn

from messaging.crash import end_process


class Tenure:
    """Life: `begin` (starts the watch), `check` after each poll and before each write, `finish`."""

    def __init__(
        self,
        limit: float,
        *,
        end: Callable[[str], NoReturn] = end_process,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`limit`: the group's session timeout in seconds, after which others may own the partitions."""
        self._limit, self._end, self._clock = limit, end, clock
        self._seen = clock()
        self._finished = threading.Event()
        self._watch = threading.Thread(target=self._run, name="tenure", daemon=True)

    def begin(self) -> None:
        """Starts the watch: a long flush is no standstill, since the watch goes on ticking beside it."""
        self._seen = self._clock()
        self._watch.start()

    def finish(self) -> None:
        """Ends the watch."""
        self._finished.set()
        self._watch.join()

    def check(self) -> None:
        """Ends the process if it stood still for longer than the limit."""
        still = self._clock() - self._seen
        if still > self._limit:
            self._end(f"it stood still for {still:.1f} s, longer than the session; others own its partitions")

    def _run(self) -> None:
        while not self._finished.wait(self._limit / 10):
            self.check()
            self._seen = self._clock()
