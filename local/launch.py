"""Run a program that ends with its parent: ``launch.py exec|watch PARENT_PID PROGRAM [ARGUMENT...]``.

A script of its own, run by path, standard library only: what has to happen between fork and exec can't be
done safely in a parent with threads (``preexec_fn``). It must never let the program outlive the parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
WATCH_SECONDS = 0.2


def launch(way: str, parent: int, command: list[str]) -> int:
    """``exec`` (Linux): become the program, which the kernel kills when the parent dies (prctl(2)).
    ``watch`` (elsewhere): stay beside the program, kill it when the parent is gone; its exit code."""
    if way == "exec":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # Died before the call above? Then nobody will tell us any more.
        if os.getppid() != parent:
            return 1
        os.execvp(command[0], command)
    # The group's SIGTERM reaches the program as well: it ends, then we do.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    program = subprocess.Popen(command, close_fds=False)
    while (code := program.poll()) is None:
        if os.getppid() != parent:
            os.killpg(os.getpgrp(), signal.SIGKILL)
        time.sleep(WATCH_SECONDS)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    try:
        sys.exit(launch(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
    except OSError as error:
        sys.exit(f"{sys.argv[3]}: {error}")
