"""Starts the processes of one machine, hands out their slots, and starts again whatever ends.

Processes are crash-only: one that lost its place ends, and the same slot's successor takes up from Kafka.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.process import ChildProcess
from schemas.errors import LocalServerError

_log = logging.getLogger("skyfill.supervisor")
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0
_LONGEST_OPTIONAL_PAUSE = 60.0
_HEALTHY_SECONDS = 30.0
_USER_ERROR = 1
_USER_ERRORS = 2
"""So many ends in a row that only a user can mend, and the whole deployment gives up."""
_FAILURES = 10
"""The same for any ends by itself without having been healthy; a kill from outside is none."""
_GRACE_SECONDS = 25.0
_SHOWN_LINES = 8


@dataclass(frozen=True)
class Role:
    """A process to keep running."""

    name: str
    command: Sequence[str]
    slot: int = 0
    optional: bool = False
    """Nothing depends on it: it never makes the supervisor give up, and failing it is tried less often."""


@dataclass
class Running:
    """A role and its present process."""

    role: Role
    process: ChildProcess
    started_at: float = 0.0
    restarts: int = 0
    user_errors: int = 0
    failures: int = 0
    """Both in a row."""
    pause: float = _FIRST_PAUSE
    due_at: float | None = field(default=None)
    """When it is to be started again, if it has ended."""


class Supervisor:
    """Life: `start`, then `watch` until cancelled, then `stop`. All in the main thread's event loop."""

    def __init__(
        self, roles: Sequence[Role], env: Mapping[str, str], logs: Path, *, gives_up: bool = True
    ) -> None:
        """`env` is the whole environment of the processes, to which each role's slot is added.

        One that does not give up goes on trying for ever, with a pause of ten seconds in the end.
        """
        self._gives_up = gives_up
        self.running = [Running(role, self._process_of(role, env, logs)) for role in roles]

    def start(self) -> None:
        """Starts all. Raises LocalServerError."""
        for one in self.running:
            self._start(one)

    async def watch(self) -> None:
        """Starts again what ends, with growing pauses. LocalServerError when that does not help."""
        while True:
            now = time.monotonic()
            for one in self.running:
                self._look_after(one, now)
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """SIGTERM to all at once; SIGKILL to those that have not ended after 25 s."""
        await asyncio.gather(*(one.process.stop(grace=_GRACE_SECONDS) for one in self.running))

    def restarts(self) -> int:
        """How often a process had to be started again."""
        return sum(one.restarts for one in self.running)

    def _look_after(self, one: Running, now: float) -> None:
        if one.process.running:
            if now - one.started_at > _HEALTHY_SECONDS:
                one.pause, one.user_errors, one.failures = _FIRST_PAUSE, 0, 0
        elif one.due_at is None:
            self._ended(one, now)
        elif now >= one.due_at:
            one.restarts += 1
            self._start(one)

    def _ended(self, one: Running, now: float) -> None:
        code = one.process.returncode or 0
        one.user_errors = one.user_errors + 1 if code == _USER_ERROR else 0
        one.failures += code >= 0
        gives_up = self._gives_up and not one.role.optional
        if gives_up and (one.user_errors >= _USER_ERRORS or one.failures >= _FAILURES):
            tail = one.process.log_tail(_SHOWN_LINES)
            raise LocalServerError(f"{one.role.name} can't go on. The end of {one.process.log}:\n{tail}")
        said = f": {one.process.log_tail(1)}" if code == _USER_ERROR else ""
        _log.warning("%s ended (%s); starting it again in %.1f s%s", one.role.name, code, one.pause, said)
        one.due_at = now + one.pause
        longest = _LONGEST_OPTIONAL_PAUSE if one.role.optional else _LONGEST_PAUSE
        one.pause = min(longest, one.pause * 2)

    @staticmethod
    def _start(one: Running) -> None:
        one.process.start()
        one.started_at, one.due_at = time.monotonic(), None

    @staticmethod
    def _process_of(role: Role, env: Mapping[str, str], logs: Path) -> ChildProcess:
        own = {**env, "SKYFILL_WORKER_SLOT": str(role.slot)}
        return ChildProcess(role.name, role.command, logs / f"{role.name}.log", env=own)
