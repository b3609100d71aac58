"""The display of a job: drawn in place and taken away on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import signal
import subprocess
from datetime import UTC, datetime

from rich.console import Console

from cli.progress import ProgressDisplay
from local.one_shot import Progress
from schemas.errors import LocalServerError
from schemas.job_status import Counts, JobStatus, Status
from tests.cli.command import EXECUTABLE, Skyfill, environment


def progress(seconds: float, terminal: int, *, status: Status = "processing", restarts: int = 0) -> Progress:
    job = JobStatus(
        job_id="a-0123",
        status=status,
        total=4000,
        plan_finished=True,
        totals=Counts(completed=terminal, records=terminal * 10),
        updated_at=datetime.now(UTC),
    )
    return Progress("fetching", "a-0123", seconds, job, {"parquet": 1234}, restarts)


def terminal(width: int = 100) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=30, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_is_drawn_on_and_left_clean() -> None:
    console = terminal()
    with ProgressDisplay(console) as display:
        display.show(Progress("starting servers", "a-0123", 0.0, None, {"parquet": None}, 0))
        display.show(progress(3.0, 1000, restarts=1))
        assert display._live is not None
        display._live.refresh()
        shown = written(console)
    for text in ("a-0123", "fetching", "1,000 of 4,000 accounts", "10,000", "1,234 to store", "1 restart"):
        assert text in shown
    # Cursor shown again, and as many lines erased as were drawn.
    end = written(console)[len(shown) :]
    assert "\x1b[?25h" in end
    assert end.count("\x1b[1A\x1b[2K") >= 5


def test_an_error_takes_the_display_away_too() -> None:
    console = terminal()
    with contextlib.suppress(LocalServerError), ProgressDisplay(console) as display:
        display.show(progress(1.0, 1))
        raise LocalServerError("no")
    assert "\x1b[?25h" in written(console)


def test_without_a_terminal_there_are_lines_now_and_then() -> None:
    console = Console(file=io.StringIO(), width=1000)
    with ProgressDisplay(console) as display:
        display.show(Progress("starting servers", "a-0123", 0.0, None, {"parquet": None}, 0))
        display.show(progress(2.0, 1000))
        display.show(progress(2.3, 1001))  # too soon for another line
    assert written(console).splitlines() == [
        "   0.0 s  starting servers",
        "   2.0 s  fetching, 1,000 of 4,000 accounts, 10,000 records, parquet: 1,234 to store",
    ]


def test_a_paused_job_says_how_to_go_on() -> None:
    console = Console(file=io.StringIO(), width=1000)
    with ProgressDisplay(console) as display:
        display.show(progress(2.0, 1, status="paused"))
    assert "paused; go on with `skyfill resume a-0123`" in written(console)


def test_a_signal_is_told_after_the_display_is_gone(bare: Skyfill) -> None:
    """On a real terminal: nothing of the display is left, and the last line says how to go on."""
    document = bare.document(
        "a",
        source={"type": "inline", "dids": ["did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"]},
        storage={"type": "parquet", "path": "out"},
    )
    master, slave = pty.openpty()
    env = {**environment(KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:9"), "TERM": "xterm", "COLUMNS": "80"}
    command = [str(EXECUTABLE), "run", str(document)]
    running = subprocess.Popen(command, cwd=bare.folder, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    while b"starting servers" not in seen:
        seen += os.read(master, 65536)
    running.send_signal(signal.SIGTERM)
    with contextlib.suppress(OSError):  # how Linux tells that the other side is closed
        while more := os.read(master, 65536):
            seen += more
    os.close(master)
    assert running.wait(30) == 128 + signal.SIGTERM
    drawn, _, rest = seen.rpartition(b"\x1b[1A\x1b[2K")
    assert b"\x1b[?25h" in drawn
    assert rest.strip() == b"Stopped. Run the same command again to go on where it stopped."
