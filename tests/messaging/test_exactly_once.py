"""Workers are killed, stopped, added and removed at random; every result is visible exactly once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from messaging.crash import EXIT_CODE
from messaging.topics import committed_offsets, end_offsets
from tests.messaging.broker import PARTITIONS, eventually, settings
from tests.messaging.crew import Scene, freeze, is_stopped, scene

SESSION = 1.5
ALL = set(range(PARTITIONS))


@pytest.fixture
def seed() -> int:
    """Another one each time; SKYFILL_TEST_SEED repeats the choices of the one that a failure printed."""
    return int(os.environ.get("SKYFILL_TEST_SEED", random.randrange(2**32)))


def test_whatever_happens_to_the_workers(kafka: str, prefix: str, tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    rounds = int(os.environ.get("SKYFILL_TEST_ROUNDS", "12"))
    chance = random.Random(seed)
    with scene(settings(kafka, prefix), tmp_path, seed) as stage:
        crew, feeder = stage.crew, stage.feeder
        for slot in range(3):
            crew.start(slot, seed=seed + slot)
        feeder.feed(300)
        for number in range(rounds):
            feeder.feed(chance.randint(20, 120))
            time.sleep(chance.uniform(0.1, 0.8))
            slot = chance.choice(sorted(crew.processes))
            what = "freeze" if number % 4 == 1 else chance.choice(["kill", "kill", "add", "remove"])
            if what == "kill":
                crew.processes[slot].kill()
            elif what == "freeze":
                freeze(crew.processes[slot], SESSION + chance.uniform(0.2, 1.5))
            elif what == "remove" and len(crew.processes) > 1:
                crew.dismiss(slot)
            elif len(crew.processes) < 5:
                free = min(set(range(5)) - set(crew.processes))
                crew.start(free, seed=number, **behaviour(chance))
            for gone in crew.ended():
                crew.start(gone, seed=number, **behaviour(chance))
        stage.settles_exactly_once()
        crew.dismiss()
        print(f"seed {seed}: {len(feeder.errands)} errands, processes ended {dict(crew.endings)}")
        assert crew.endings[EXIT_CODE] + crew.endings[-signal.SIGKILL] > 0


def behaviour(chance: random.Random) -> dict[str, float]:
    """Some workers commit or poll rarely: after a silence they do one before or long before the other."""
    return {
        "commit_every": chance.choice([0.05, 0.2, 1.0]),
        "poll_pause": chance.choice([0.0, 0.0, 0.2, 1.0]),
    }


@pytest.fixture
def stage(kafka: str, prefix: str, tmp_path: Path) -> Iterator[Scene]:
    with scene(settings(kafka, prefix), tmp_path, 1) as stage:
        yield stage


@pytest.mark.parametrize(("predecessor", "timeout"), [("goes on", 60), ("is killed", 15)])
def test_the_next_owner_waits_for_offsets_that_are_sent_but_undecided(
    kafka: str, prefix: str, tmp_path: Path, predecessor: str, timeout: float
) -> None:
    """Nobody but the stopped process and the broker's timeout can decide whether these tasks are done.

    The timeout leaves a slow machine the time to see that the next owner waits.
    """
    with scene(settings(kafka, prefix, transaction_timeout_seconds=timeout), tmp_path, 1) as stage:
        waits_for_the_undecided(stage, predecessor)


def waits_for_the_undecided(stage: Scene, predecessor: str) -> None:
    stage.feeder.feed(60)
    first = stage.crew.start(0, stops_before_end=True)
    eventually(lambda: is_stopped(first))
    old = set(stage.members())
    stage.crew.start(1, read_back_patience=0.2)  # far less than it takes: it has to ask again and again
    eventually(lambda: list(stage.members().values()) == [ALL] and not old & set(stage.members()))
    time.sleep(1)
    said = stage.crew.log(0).read_text() + stage.crew.log(1).read_text()
    assert "holds" not in stage.crew.log(1).read_text(), said  # given them, and not taken yet
    assert stage.crew.processes[1].poll() is None, "it has to wait, not to give up"
    assert not stage.results()
    if predecessor == "goes on":
        os.kill(first.pid, signal.SIGCONT)
        assert stage.crew.end_of(0) == EXIT_CODE
        # What it had sent is committed, as it was all told to the broker; the markers follow a moment later.
        eventually(lambda: bool(stage.results()))
    else:
        first.kill()
        stage.crew.end_of(0)
    stage.settles_exactly_once()


@pytest.mark.parametrize(
    ("orders", "reason"),
    [
        ({"commit_every": 600.0, "delay": 0.0}, "was silent for too long"),
        ({"commit_every": 0.02, "poll_pause": 600.0, "delay": 1.0}, "FencedError"),
        ({"commit_every": 1.0, "poll_pause": 600.0, "delay": 1.0}, "FencedError"),
    ],
    ids=["when polling", "when committing at once", "when committing late"],
)
def test_who_was_silent_for_too_long_ends_and_commits_nothing(
    stage: Scene, orders: dict[str, float], reason: str
) -> None:
    stage.feeder.feed(60)
    first = stage.crew.start(0, **orders)
    eventually(lambda: written(stage) > 0)
    os.kill(first.pid, signal.SIGSTOP)
    before = progress(stage)
    stage.crew.start(1, commit_every=600.0)  # takes the partitions, and commits nothing meanwhile either
    eventually(lambda: "holds" in stage.crew.log(1).read_text())
    os.kill(first.pid, signal.SIGCONT)
    assert stage.crew.end_of(0) == EXIT_CODE
    assert reason in stage.crew.log(0).read_text()
    assert progress(stage) == before
    stage.crew.dismiss()  # the other commits at last
    stage.crew.start(0)
    stage.settles_exactly_once()


def test_who_leaves_in_peace_loses_nothing(stage: Scene) -> None:
    """SIGTERM commits what is done, and hands the rest over at once."""
    stage.feeder.feed(200)
    first = stage.crew.start(0, commit_every=600.0, delay=0.5)
    eventually(lambda: written(stage) > 0)
    first.terminate()
    assert stage.crew.end_of(0) == 0
    assert stage.results()
    assert not stage.members()
    assert not stage.drained()
    stage.crew.start(1)
    stage.settles_exactly_once()


def test_a_group_without_place_says_what_to_do(stage: Scene) -> None:
    stage.feeder.feed(20)
    group = stage.names.worker_group
    stage.client.delete_consumer_groups([group])[group].result(30)
    stage.crew.start(0)
    assert stage.crew.end_of(0) == 1
    assert f"OffsetsMissing: group {group} has no committed offset" in stage.crew.log(0).read_text()
    assert "--reset-offsets" in stage.crew.log(0).read_text()
    assert not stage.results()


def written(stage: Scene) -> int:
    """Results that are there for a reader of uncommitted messages."""
    ends = end_offsets(
        stage.client, stage.names.records, range(stage.kafka.partitions.records), committed=False
    )
    return sum(ends.values())


def progress(stage: Scene) -> tuple[object, ...]:
    """All that a commit would change."""
    places = [
        committed_offsets(stage.client, stage.names.worker_group, topic, ALL)
        for topic in (stage.names.dids, stage.names.dids_retry)
    ]
    return (*places, stage.results())
