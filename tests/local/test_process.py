"""A child of skyfill ends with skyfill, tells why it failed, and never shares its folder."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local.folder_lock import folder_lock
from local.process import ChildProcess, launch_command
from schemas.errors import LocalServerError

# Writes its process id, then stays for a minute.
STAYS = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
# The same, deaf to SIGTERM.
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {STAYS}"
# A parent: starts STAYS the given way, then waits for its own end.
PARENT = """
import subprocess, sys, time
from local.folder_lock import folder_lock
from local.process import launch_command
platform, program, pid_file = sys.argv[1:]
command = launch_command([sys.executable, "-c", program, pid_file], platform=platform)
subprocess.Popen(command, start_new_session=True)
time.sleep(60)
"""


def python(program: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", program, *map(str, arguments)]


def wait_for_pid(file: Path) -> int:
    while not (file.exists() and (text := file.read_text())):
        time.sleep(0.02)
    return int(text)


def wait_for_end(pid: int) -> None:
    # Nobody may be there to reap an orphan in a container: a zombie has ended, too.
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_child_ends_with_its_killed_parent(tmp_path: Path, platform: str) -> None:
    parent = subprocess.Popen(python(PARENT, platform, STAYS, tmp_path / "pid"))
    child = wait_for_pid(tmp_path / "pid")
    assert psutil.pid_exists(child)
    parent.kill()
    parent.wait()
    wait_for_end(child)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_launcher_passes_sigterm_and_exit_code_on(tmp_path: Path, platform: str) -> None:
    ends = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); " + STAYS
    launched = subprocess.Popen(
        launch_command(python(ends, tmp_path / "pid"), platform=platform), start_new_session=True
    )
    wait_for_pid(tmp_path / "pid")
    os.killpg(launched.pid, signal.SIGTERM)
    assert launched.wait() == 7


def test_program_does_not_start_when_the_parent_died_first(tmp_path: Path) -> None:
    command = launch_command(python(STAYS, tmp_path / "pid"), platform="linux")
    assert command[5] == str(os.getpid())
    command[5] = "1" if os.getpid() != 1 else "2"
    assert subprocess.run(command).returncode == 1
    assert not (tmp_path / "pid").exists()


async def test_stop_is_a_clean_end(tmp_path: Path) -> None:
    child = ChildProcess("sleeper", python(STAYS, tmp_path / "pid"), tmp_path / "log")
    child.start()
    await asyncio.to_thread(wait_for_pid, tmp_path / "pid")
    assert child.running
    assert await child.stop() == -signal.SIGTERM
    assert not child.running
    assert await child.stop() == -signal.SIGTERM


async def test_stop_kills_what_does_not_listen(tmp_path: Path) -> None:
    child = ChildProcess("stubborn", python(STUBBORN, tmp_path / "pid"), tmp_path / "log")
    child.start()
    await asyncio.to_thread(wait_for_pid, tmp_path / "pid")
    assert await child.stop(grace=0.3) == -signal.SIGKILL


async def test_error_carries_the_end_of_this_starts_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("from an earlier start\n")
    fails = "print('reading settings'); raise SystemExit('no such setting: colour')"
    child = ChildProcess("painter", python(fails), tmp_path / "log")
    child.start()
    with pytest.raises(LocalServerError, match="painter ended with exit code 1 while starting") as caught:
        await child.wait_until(never, patience=60)
    assert "no such setting: colour" in str(caught.value)
    assert "earlier" not in str(caught.value)


async def test_missing_program_is_named(tmp_path: Path) -> None:
    child = ChildProcess("ghost", [str(tmp_path / "no-such-program")], tmp_path / "log")
    child.start()
    with pytest.raises(LocalServerError, match="no-such-program"):
        await child.wait_until(never, patience=60)


async def test_late_child_is_killed(tmp_path: Path) -> None:
    child = ChildProcess("sleeper", python(STAYS, tmp_path / "pid"), tmp_path / "log")
    child.start()
    with pytest.raises(LocalServerError, match="was not ready after 0 s"):
        await child.wait_until(never, patience=0.2)
    assert child.returncode == -signal.SIGKILL


async def test_folder_lock_lives_as_long_as_the_server(tmp_path: Path) -> None:
    server = ChildProcess("server", python(STAYS, tmp_path / "pid"), tmp_path / "log")
    async with folder_lock(tmp_path / "data") as lock:
        server.start(inherit=[lock])
    with pytest.raises(LocalServerError, match="data is in use by a server that still runs"):
        async with folder_lock(tmp_path / "data", patience=0.2):
            pytest.fail("two servers in one folder")
    server.kill()
    async with folder_lock(tmp_path / "data"):
        pass
    await server.wait()


async def test_folder_lock_without_a_server_ends_with_its_block(tmp_path: Path) -> None:
    for _ in range(2):
        async with folder_lock(tmp_path / "data", patience=0):
            pass


async def test_only_the_main_thread_starts_children(tmp_path: Path) -> None:
    child = ChildProcess("sleeper", python(STAYS, tmp_path / "pid"), tmp_path / "log")
    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(child.start)


async def test_a_running_child_is_not_started_twice(tmp_path: Path) -> None:
    child = ChildProcess("sleeper", python(STAYS, tmp_path / "pid"), tmp_path / "log")
    with pytest.raises(RuntimeError, match="not started"):
        await child.wait()
    child.start()
    with pytest.raises(RuntimeError, match="runs already"):
        child.start()
    await child.stop()


async def never() -> bool:
    return False
