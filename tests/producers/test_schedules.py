"""Schedules: what falls due starts once, one run at a time, by an injected clock."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState

from producers.schedules import Step, step
from schemas.backfill import Backfill
from schemas.job_specs import JobSpec, JobState
from schemas.outcomes import JobEvent
from schemas.plans import PlanCheckpoint
from tests.producers.deployment import Book, Deployment, did, until
from tests.producers.test_planner_killed import begin

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
NIGHT = datetime(2026, 11, 26, 3, tzinfo=UTC)
DAY = timedelta(days=1)
SOON = timedelta(seconds=5)
LEFT_OUT = "the run of 2026-11-27 03:00 UTC was left out: the schedule is paused"
FIRST, SECOND = "nightly.20261126T030000Z", "nightly.20261127T030000Z"


# As plain functions


@dataclass
class Facts:
    """What is known of other jobs."""

    known: set[str] = field(default_factory=set)
    final: set[str] = field(default_factory=set)

    def spec(self, job_id: str) -> JobSpec | None:
        return None

    def ended(self, job_id: str) -> bool:
        return job_id in self.final

    def is_known(self, job_id: str) -> bool:
        return job_id in self.known | self.final


class Story:
    """One schedule through time: each `at` is a planner's look."""

    def __init__(self, missed: str = "skip") -> None:
        backfill = Backfill.model_validate(document(missed))
        self.spec = JobSpec(job_id="nightly", backfill=backfill, submitted_at=NOON)
        self.jobs = Facts()
        self.checkpoint = PlanCheckpoint(job_id="nightly")
        self.since = NOON
        self.runs: list[str] = []
        assert self.at(NOON)

    def turn(self, state: JobState) -> None:
        self.spec = self.spec.model_copy(update={"state": state})

    def at(self, now: datetime) -> Step | None:
        """What is done then; a second look changes nothing."""
        taken = step(self.spec, self.checkpoint, self.jobs, now=now, since=self.since)
        if taken is not None:
            self.checkpoint = taken.checkpoint
            if taken.run is not None:
                assert taken.run.backfill == self.spec.backfill.model_copy(update={"schedule": None})
                assert taken.run.submitted_at == now
                self.runs.append(taken.run.job_id)
                self.jobs.known.add(taken.run.job_id)
                assert self.checkpoint.run == taken.run.job_id
        assert step(self.spec, self.checkpoint, self.jobs, now=now, since=self.since) is None
        assert self.checkpoint.chunk == len(self.runs)
        return taken

    def told(self, now: datetime) -> str:
        taken = self.at(now)
        assert taken is not None
        assert taken.told.event == "scheduled"
        return taken.told.detail or ""


def document(missed: str = "skip", **fields: Any) -> dict[str, Any]:
    return {
        "name": "mine",
        "source": {"type": "inline", "dids": [did(1), did(2)]},
        "storage": [{"type": "parquet", "path": "/out"}],
        "schedule": {"cron": "0 3 * * *", "missed": missed},
    } | fields


def test_a_run_starts_when_it_is_due_and_not_before() -> None:
    story = Story()
    assert story.at(NIGHT - timedelta(seconds=1)) is None
    assert story.told(NIGHT) == f"next run 2026-11-27 03:00 UTC; last run {FIRST}"
    story.jobs.final.add(FIRST)
    assert story.at(NIGHT + DAY - SOON) is None
    assert story.told(NIGHT + DAY + SOON).endswith(f"last run {SECOND}")
    assert story.runs == [FIRST, SECOND]


@pytest.mark.parametrize(("missed", "runs"), [("skip", []), ("once", ["nightly.20261128T030000Z"])])
def test_what_fell_due_while_no_planner_ran(missed: str, runs: list[str]) -> None:
    story = Story(missed)
    back = NIGHT + 2 * DAY + timedelta(hours=4)
    story.since = back
    detail = story.told(back)
    assert story.runs == runs
    assert ("the run of 2026-11-28 03:00 UTC was left out: no planner ran" in detail) == (not runs)
    story.jobs.final.update(runs)
    story.at(NIGHT + 3 * DAY)
    assert story.runs == [*runs, "nightly.20261129T030000Z"]


@pytest.mark.parametrize("missed", ["skip", "once"])
def test_a_planner_that_takes_over_in_the_minute_has_missed_nothing(missed: str) -> None:
    story = Story(missed)
    story.since = NIGHT + timedelta(seconds=40)
    story.at(story.since)
    assert story.runs == [FIRST]


def test_a_busy_planner_starts_what_fell_due_meanwhile() -> None:
    story = Story()
    story.at(NIGHT + timedelta(hours=1))
    assert story.runs == [FIRST]


def test_a_run_that_goes_on_is_the_only_one() -> None:
    skip, once = Story("skip"), Story("once")
    for story in (skip, once):
        story.at(NIGHT)
    assert f"{FIRST} was still going on" in skip.told(NIGHT + DAY)
    assert once.at(NIGHT + DAY) is None
    assert once.at(NIGHT + 2 * DAY) is None
    for story in (skip, once):
        story.jobs.final.add(FIRST)
        story.at(NIGHT + 2 * DAY + timedelta(hours=2))
    assert skip.runs == [FIRST, "nightly.20261128T030000Z"]
    assert once.runs == [FIRST, "nightly.20261128T030000Z"]


def test_skipped_is_what_fell_due_while_the_run_before_went_on() -> None:
    story = Story("skip")
    story.at(NIGHT)
    story.at(NIGHT + DAY)
    story.jobs.final.add(FIRST)
    assert story.at(NIGHT + DAY + timedelta(hours=2)) is None
    assert story.runs == [FIRST]


@pytest.mark.parametrize(("missed", "runs"), [("skip", []), ("once", [FIRST])])
def test_a_paused_schedule_starts_nothing(missed: str, runs: list[str]) -> None:
    story = Story(missed)
    story.turn("paused")
    taken = story.at(NIGHT)
    assert (taken is None) == (missed == "once")
    story.turn("active")
    story.at(NIGHT + timedelta(hours=5))
    assert story.runs == runs


def test_a_run_whose_id_is_taken_is_left_out_and_said_to_be() -> None:
    story = Story("once")
    story.jobs.known.add(FIRST)
    assert f"left out: there is a job {FIRST} already" in story.told(NIGHT)
    story.at(NIGHT + DAY)
    assert story.runs == [SECOND]


# On a broker


def events(deployment: Deployment, job_id: str) -> list[tuple[str, str | None]]:
    return [
        (o.event, o.detail) for o in deployment.outcomes() if isinstance(o, JobEvent) and o.job_id == job_id
    ]


def planners(deployment: Deployment) -> int:
    """Planners that share the commands, once they have settled who is to follow them."""
    group = deployment.names.planner_group
    described = deployment.admin.describe_consumer_groups([group])[group].result(30)
    return len(described.members) if described.state == ConsumerGroupState.STABLE else 0


def test_a_schedule_from_its_beginning_to_its_end(deployment: Deployment, book: Book) -> None:
    """Two planners, of which one is active at a time; a command each; nothing of the schedule is planned."""
    deployment.say("nightly", {"backfill": document()})
    deployment.say("x" * 190, {"backfill": document()})
    deployment.plan(book, now=lambda: NOON)
    assert deployment.tasks() == []
    assert events(deployment, "nightly") == [
        ("submitted", None),
        ("scheduled", "next run 2026-11-26 03:00 UTC; no run yet"),
    ]
    assert deployment.events("x" * 190) == ["rejected"]

    now, second = NIGHT - SOON, Book()
    with deployment.running(book, now=lambda: now), deployment.running(second, now=lambda: now):
        until(lambda: planners(deployment) == 2)  # a commit in the midst of a rebalance would end its planner
        now = NIGHT
        until(lambda: deployment.planned(FIRST).finished)
        deployment.say("nightly", {"action": "replay", "letters": ["0:0"]})
        deployment.say("nightly", {"action": "pause"})
        until(lambda: "paused" in deployment.events("nightly"))
        now = NIGHT + DAY
        until(lambda: deployment.events("nightly").count("scheduled") == 4)
        deployment.say("nightly", {"action": "resume"})
        deployment.status(FIRST, total=2, completed=2, status="complete")
        until(lambda: "resumed" in deployment.events("nightly"))
        now = NIGHT + 2 * DAY
        until(lambda: deployment.events("nightly").count("scheduled") == 6)
        deployment.say("nightly", {"action": "cancel"})
        deployment.say("nightly", {"action": "resume"})
        until(lambda: deployment.events("nightly")[-1] == "ignored")
        now = NIGHT + 3 * DAY
        deployment.start("other", [did(3)])
        until(lambda: deployment.planned("other").finished)
    third = "nightly.20261128T030000Z"
    assert events(deployment, "nightly")[2:] == [
        ("scheduled", f"next run 2026-11-27 03:00 UTC; last run {FIRST}"),
        ("ignored", "a schedule fetches nothing itself; replay the dead letters of its runs"),
        ("scheduled", f"no run starts until it is resumed; last run {FIRST}"),
        ("paused", None),
        ("scheduled", f"next run 2026-11-28 03:00 UTC; last run {FIRST}; {LEFT_OUT}"),
        ("scheduled", f"next run 2026-11-28 03:00 UTC; last run {FIRST}"),
        ("resumed", None),
        ("scheduled", f"next run 2026-11-29 03:00 UTC; last run {third}"),
        (
            "scheduled",
            f"no run starts any more; last run {third}, which goes on unless it is cancelled, too",
        ),
        ("cancelled", None),
        ("ignored", "the job was cancelled, which is final; can't resume it"),
    ]
    assert Counter((task.job_id, task.did) for task in deployment.tasks()) == Counter(
        [(run, did(n)) for run in (FIRST, third) for n in (1, 2)] + [("other", did(3))]
    )
    specs = [JobSpec.decode(value or b"") for _, value in deployment.read(deployment.names.job_specs)]
    assert {spec.job_id for spec in specs if spec.backfill.schedule} == {"nightly"}
    assert deployment.planned("nightly").finished


@pytest.mark.parametrize("moment", ["run", "ran"])
def test_a_planner_killed_while_it_starts_a_run(
    deployment: Deployment, book: Book, tmp_path: Path, moment: str
) -> None:
    deployment.say("nightly", {"backfill": document()})
    deployment.plan(book, now=lambda: NOON)
    doomed = begin(deployment, tmp_path, f"{moment}:SIGKILL", (NIGHT + SOON).isoformat())
    assert doomed.wait(60) == -signal.SIGKILL
    deployment.plan(book, now=lambda: NIGHT + 2 * SOON)
    deployment.plan(book, now=lambda: NIGHT + 3 * SOON)
    assert deployment.events("nightly") == ["submitted", "scheduled", "scheduled"]
    assert deployment.events(FIRST) == ["submitted"]
    assert Counter(task.did for task in deployment.tasks(FIRST)) == Counter([did(1), did(2)])


def test_a_schedule_is_not_planned_in_the_foreground(deployment: Deployment, book: Book) -> None:
    deployment.say("nightly", {"backfill": document()})
    planner = deployment.plan(book, only_job="nightly", now=lambda: NOON)
    assert "is a schedule" in planner.failures["nightly"]
    assert deployment.events("nightly") == ["submitted"]
