"""The supervisor: what ends is started again with growing pauses, and what can't be helped is told."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from local.supervisor import Role, Supervisor
from schemas.errors import LocalServerError

STAYS = "import time; time.sleep(60)"
SAYS_AND_STAYS = "import os, sys, time; print(os.environ['SKYFILL_WORKER_SLOT'], flush=True); time.sleep(60)"
USER_ERROR = "import sys; print('the table is missing; make it'); sys.exit(1)"
ENDS = "import sys; sys.exit(int(sys.argv[1]))"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(60)"


def role(name: str, program: str, *arguments: str, slot: int = 0) -> Role:
    return Role(name, [sys.executable, "-u", "-S", "-c", program, *arguments], slot)


def supervise(logs: Path, *roles: Role, gives_up: bool = True) -> Supervisor:
    made = Supervisor(roles, os.environ, logs, gives_up=gives_up)
    made.start()
    return made


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def wait_for_restarts(supervisor: Supervisor, number: int) -> None:
    await until(lambda: supervisor.restarts() >= number)


async def test_each_process_is_told_its_slot_and_writes_a_log_of_its_own(tmp_path: Path) -> None:
    roles = [role(f"worker-{slot}", SAYS_AND_STAYS, slot=slot) for slot in range(3)]
    supervisor = supervise(tmp_path, *roles)
    try:
        logs = [tmp_path / f"worker-{slot}.log" for slot in range(3)]
        await until(lambda: [log.read_text() for log in logs] == ["0\n", "1\n", "2\n"])
    finally:
        await supervisor.stop()
    assert supervisor.restarts() == 0


async def test_a_killed_process_is_started_again_and_the_others_are_left_alone(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path, role("killed", STAYS), role("other", STAYS))
    watching = asyncio.create_task(supervisor.watch())
    killed, other = supervisor.running
    before = killed.process.pid, other.process.pid
    try:
        killed.process.kill()
        await wait_for_restarts(supervisor, 1)
        assert killed.process.running
        assert (killed.process.pid != before[0], other.process.pid == before[1]) == (True, True)
    finally:
        watching.cancel()
        await supervisor.stop()
    assert not killed.process.running
    assert not other.process.running


async def test_pauses_grow_from_restart_to_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    supervisor = supervise(tmp_path, role("restless", ENDS, "75"))
    with caplog.at_level(logging.WARNING, "skyfill.supervisor"):
        watching = asyncio.create_task(supervisor.watch())
        await wait_for_restarts(supervisor, 4)
        watching.cancel()
    await supervisor.stop()
    pauses = [float(pause) for pause in re.findall(r"restless ended \(75\).* in ([\d.]+) s", caplog.text)]
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]


async def test_a_user_error_twice_in_a_row_ends_all_with_the_end_of_the_log(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path, role("sink", USER_ERROR))
    with pytest.raises(LocalServerError) as caught:
        await supervisor.watch()
    await supervisor.stop()
    assert supervisor.restarts() == 1
    assert "sink can't go on" in str(caught.value)
    assert str(tmp_path / "sink.log") in str(caught.value)
    assert str(caught.value).endswith("the table is missing; make it")


async def test_a_process_that_never_stays_ends_all_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.supervisor._LONGEST_PAUSE", 0.2)
    supervisor = supervise(tmp_path, role("worker-0", ENDS, "75"))
    with pytest.raises(LocalServerError, match="worker-0 can't go on"):
        await supervisor.watch()
    await supervisor.stop()
    assert supervisor.restarts() == 9


async def test_kills_from_outside_are_no_reason_to_give_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.supervisor._LONGEST_PAUSE", 0.2)
    supervisor = supervise(tmp_path, role("hunted", STAYS))
    watching = asyncio.create_task(supervisor.watch())
    for restarts in range(1, 13):
        supervisor.running[0].process.kill()
        await wait_for_restarts(supervisor, restarts)
    assert not watching.done()
    watching.cancel()
    await supervisor.stop()


async def test_one_that_does_not_give_up_tells_the_reason_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = supervise(tmp_path, role("sink", USER_ERROR), gives_up=False)
    watching = asyncio.create_task(supervisor.watch())
    await wait_for_restarts(supervisor, 3)
    assert not watching.done()
    watching.cancel()
    await supervisor.stop()
    assert "sink ended (1); starting it again in 0.2 s: the table is missing; make it" in caplog.text


async def test_an_optional_process_never_ends_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("local.supervisor._LONGEST_OPTIONAL_PAUSE", 0.2)
    for program, arguments in ((USER_ERROR, []), (ENDS, ["75"])):
        failing = replace(role("rates", program, *arguments), optional=True)
        supervisor = supervise(tmp_path, failing, role("other", STAYS))
        watching = asyncio.create_task(supervisor.watch())
        await wait_for_restarts(supervisor, 12)
        assert not watching.done()
        assert supervisor.running[1].process.running
        watching.cancel()
        await supervisor.stop()
    assert "rates ended (1); starting it again in 0.2 s: the table is missing; make it" in caplog.text


async def test_a_process_that_does_not_heed_is_killed_after_the_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.supervisor._GRACE_SECONDS", 0.5)
    supervisor = supervise(tmp_path, role("stubborn", STUBBORN), role("obedient", STAYS))
    stubborn, obedient = supervisor.running
    await until(lambda: "deaf" in (tmp_path / "stubborn.log").read_text())
    await supervisor.stop()
    assert (stubborn.process.returncode, obedient.process.returncode) == (-9, -15)
