"""What a process took between two moments: wall time, CPU and memory, asked of the kernel from outside.

The measured process does nothing for it, so measuring costs it nothing.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import DeploymentError, LocalServerError


@dataclass(frozen=True)
class Usage:
    """`cpu_seconds` are user and system of all threads, ended ones included, between the two moments;
    `peak_rss_mb` is the most memory resident at once since the process was started, in MiB."""

    cpu_seconds: float
    peak_rss_mb: float


@dataclass(frozen=True)
class Reading:
    """What a Meter read."""

    wall_seconds: float
    usage: dict[str, Usage]
    """By the name that the meter was given."""


class Meter:
    """Life: made when the work begins, `read` when its end is seen."""

    def __init__(self, pids: Mapping[str, int | None]) -> None:
        """The processes by name. Raises LocalServerError for one that does not run."""
        self._pids = {name: pid or 0 for name, pid in pids.items()}
        self._before = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        self._started = time.monotonic()

    def read(self) -> Reading:
        """All from the meter's making until now. Raises LocalServerError for a process that has ended."""
        wall = time.monotonic() - self._started
        return Reading(
            wall,
            {
                name: Usage(cpu_seconds(pid) - self._before[name], peak_rss_mb(pid))
                for name, pid in self._pids.items()
            },
        )


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, to the nanosecond where /proc has ticks: clock_getcpuclockid(3)."""
    clock = ctypes.c_int()
    if pid <= 0 or ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)) != 0:
        raise LocalServerError(f"process {pid} ended while it was measured; its log says why")
    return time.clock_gettime(clock.value)


def peak_rss_mb(pid: int) -> float:
    """The high-water mark of resident memory, in MiB: VmHWM, see proc_pid_status(5)."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found is None:
        raise LocalServerError(f"process {pid} ended while it was measured; its log says why")
    return int(found[1]) / 1024


def reset_peak(pid: int) -> None:
    """Begins a process's high-water mark of memory anew, see proc_pid_clear_refs(5)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def require_linux() -> None:
    """Raises DeploymentError elsewhere: the clocks and the high-water mark are Linux's."""
    if sys.platform != "linux" or not os.path.exists("/proc/self/status"):
        raise DeploymentError("the benchmarks read /proc and need Linux; run them there, or in a container")
