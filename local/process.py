"""A child process that never outlives skyfill, however skyfill ends.

Broker, tables and workers are children of one supervisor. A broker left behind would hold the ports and
the data folder of the next start, so no child may survive its parent, not even the parent's SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from schemas.errors import LocalServerError

POLL_SECONDS = 0.05
TAIL_BYTES = 64 * 1024

Ready = Callable[[], Awaitable[bool]]


class ChildProcess:
    """One program: started, watched, stopped. Its output is appended to ``log``.

    The child leads a session of its own, so that Ctrl-C reaches the supervisor alone, which then stops its
    children in order.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self._env = None if env is None else dict(env)
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The process id, also after the end; None before the start."""
        return None if self._process is None else self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code (negative: the signal's number), None while it runs or before the start."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, inherit: Sequence[int] = ()) -> None:
        """Start the program; ``inherit`` are file descriptors that it shall have, too.

        Raises LocalServerError if the program can't be run, and RuntimeError outside the main thread: Linux
        ends the child with the *thread* that started it.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"start {self.name} from the main thread: its life is tied to that thread's")
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            try:
                self._process = subprocess.Popen(
                    launch_command(self.command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,
                    pass_fds=inherit,
                )
            except OSError as error:
                raise LocalServerError(f"{self.name} can't be started: {error}") from error

    async def wait(self) -> int:
        """Wait for the end; the exit code."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        # Polled: so a child belongs to no event loop, and one that was started in a loop that has ended
        # (a test session's) can still be awaited and stopped.
        while (code := self._process.poll()) is None:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        return code

    async def wait_until(self, ready: Ready, *, patience: float) -> None:
        """Wait until ``ready()`` is true, for at most ``patience`` seconds.

        Raises LocalServerError, with the end of the log, if the child ends before that or is late; a late one
        is killed.
        """
        deadline = time.monotonic() + patience
        while not await ready():
            code = self.returncode
            if code is None and time.monotonic() < deadline:
                await asyncio.sleep(POLL_SECONDS)
                continue
            if code is None:
                await self.stop(grace=0)
                what = f"was not ready after {patience:.0f} s"
            else:
                what = f"ended with exit code {code} while starting"
            raise LocalServerError(f"{self.name} {what}. The end of {self.log}:\n{self.log_tail()}")

    async def stop(self, *, grace: float = 20.0) -> int | None:
        """SIGTERM, up to ``grace`` seconds, then SIGKILL. The exit code; None if never started."""
        if self._process is None:
            return None
        if grace > 0 and self.running:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    return await self.wait()
        self.kill()
        return await self.wait()

    def kill(self) -> None:
        """SIGKILL to the child and to whatever it started."""
        if self.running:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of what this start has written to the log."""
        try:
            with self.log.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, end - TAIL_BYTES))
                text = log.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def launch_command(command: Sequence[str], *, platform: str = sys.platform) -> list[str]:
    """The command wrapped so that it ends with this process. See ``local/launch.py``."""
    launcher = Path(__file__).with_name("launch.py")
    way = "exec" if platform == "linux" else "watch"
    return [sys.executable, "-I", "-S", str(launcher), way, str(os.getpid()), *command]
