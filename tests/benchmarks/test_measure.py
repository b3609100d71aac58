"""What the benchmarks read of other processes, held against what these say of themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.measure import Meter
from schemas.errors import LocalServerError

BURN = """
import sys, threading, time

def burn():
    while time.thread_time() < 0.2:
        pass

for line in sys.stdin:
    before = time.process_time()
    if line == "thread\\n":  # a thread that has ended still counts
        thread = threading.Thread(target=burn)
        thread.start()
        thread.join()
    elif line == "memory\\n":
        bytearray(64 * 2**20)
    print(time.process_time() - before, flush=True)
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A process that works when it is told to, and says what CPU time that took it."""
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def tell(child: subprocess.Popen[str], word: str) -> float:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{word}\n")
    child.stdin.flush()
    return float(child.stdout.readline())


def test_cpu_is_that_of_all_threads_since_the_meter_was_made(child: subprocess.Popen[str]) -> None:
    tell(child, "thread")
    meter = Meter({"child": child.pid})
    own = tell(child, "thread")
    reading = meter.read()
    assert 0.2 <= own <= reading.usage["child"].cpu_seconds < 2 * own


def test_memory_is_the_most_that_there_ever_was(child: subprocess.Popen[str]) -> None:
    tell(child, "nothing")
    meter = Meter({"child": child.pid})
    before = meter.read().usage["child"].peak_rss_mb
    tell(child, "memory")  # given back at once
    assert meter.read().usage["child"].peak_rss_mb > before + 50


def test_a_process_that_ended_is_an_error(child: subprocess.Popen[str]) -> None:
    meter = Meter({"child": child.pid})
    child.kill()
    child.wait()
    with pytest.raises(LocalServerError, match="ended while it was measured"):
        meter.read()
    with pytest.raises(LocalServerError):
        Meter({"never started": None})
