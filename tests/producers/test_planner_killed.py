"""Planners that die or freeze at the worst moments: every account still gets exactly one task."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from messaging.crash import EXIT_CODE
from schemas.outcomes import PlanOutcome
from tests.producers.deployment import Book, Deployment, did, until

ROOT = Path(__file__).parents[2]
ACCOUNTS = [did(n) for n in range(40)]


def begin(deployment: Deployment, folder: Path, *point: str) -> subprocess.Popen[bytes]:
    settings = folder / "settings.json"
    settings.write_text(deployment.settings.model_dump_json())
    command = [sys.executable, "-m", "tests.producers.doomed", str(settings), *point]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)


def submit(deployment: Deployment) -> None:
    deployment.start("j", [*ACCOUNTS, *ACCOUNTS[:10]], processing={"batch_size": 9})


def assert_all_planned_once(deployment: Deployment) -> None:
    assert Counter(task.did for task in deployment.tasks("j")) == Counter(ACCOUNTS)
    assert deployment.planned("j") == PlanOutcome(job_id="j", planned=40, duplicates=10, finished=True)
    assert deployment.events("j") == ["submitted"]


@pytest.mark.parametrize("point", ["tasks:SIGKILL:1", "after:SIGKILL:2", "commit:SIGKILL:4"])
def test_a_killed_planner_leaves_nothing_half_done(
    deployment: Deployment, book: Book, tmp_path: Path, point: str
) -> None:
    submit(deployment)
    doomed = begin(deployment, tmp_path, point)
    assert doomed.wait(60) == -signal.SIGKILL
    deployment.plan(book)
    assert_all_planned_once(deployment)


@pytest.mark.parametrize("moment", ["tasks", "commit"])
def test_a_frozen_planner_finds_its_place_taken(
    deployment: Deployment, book: Book, tmp_path: Path, moment: str
) -> None:
    """Frozen for longer than its session, in the midst of a transaction, while another one plans on."""
    submit(deployment)
    frozen = begin(deployment, tmp_path, f"{moment}:SIGSTOP:2")
    try:
        until(lambda: state_of(frozen) == "T")
        deployment.plan(book)
        assert_all_planned_once(deployment)
        frozen.send_signal(signal.SIGCONT)
        assert frozen.wait(60) == EXIT_CODE
    finally:
        frozen.kill()
        frozen.wait()
    assert_all_planned_once(deployment)


@pytest.mark.parametrize("deployment", [{"tasks_per_partition": 2}], indirect=True)
@pytest.mark.parametrize("moment", ["cancel", "cancelled"])
def test_a_planner_killed_while_it_cancels_has_cancelled_or_will(
    deployment: Deployment, book: Book, tmp_path: Path, moment: str
) -> None:
    """In mid-plan: four partitions of two tasks are enough, so that the second chunk is not made."""
    submit(deployment)
    doomed = begin(deployment, tmp_path, f"{moment}:SIGKILL")
    until(lambda: deployment.tasks("j"))
    deployment.say("j", {"action": "cancel"})
    assert doomed.wait(60) == -signal.SIGKILL
    for later in ({"action": "resume"}, {"action": "pause"}, {"action": "replay", "letters": ["0:0"]}):
        deployment.say("j", later)
    submit(deployment)
    deployment.plan(book)
    assert deployment.events("j") == ["submitted", "cancelled", *["ignored"] * 4]
    assert {task.did for task in deployment.tasks("j")} == set(ACCOUNTS[:9])
    assert deployment.planned("j") == PlanOutcome(job_id="j", planned=9, finished=True)
    assert len(deployment.read(deployment.names.deadletter)) == 4


def state_of(process: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
