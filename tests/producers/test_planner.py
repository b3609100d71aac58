"""The planner on a real broker: commands in, tasks out, and never more of them than it should."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from local.network.network import Network
from messaging.partitioner import partition_for
from messaging.topics import committed_offsets, end_offsets
from producers.run import run_planner
from schemas.deadletter import DeadLetter
from schemas.errors import IdentityNotFound, IdentityUnreachable, SourceError, TopicMismatch
from schemas.job_specs import JobSpec
from schemas.outcomes import JobEvent, PlanOutcome, RepoOutcome
from schemas.plans import PlanCheckpoint
from schemas.settings import NetworkSettings, Settings
from tests.producers.deployment import Book, Deployment, did, hash_of, until


def test_a_job_becomes_tasks_outcomes_and_a_checkpoint(deployment: Deployment, book: Book) -> None:
    book.answers = {did(3): IdentityNotFound("gone"), did(4): IdentityUnreachable("silent")}
    deployment.start("my-job", [*(did(n) for n in range(6)), did(0), "no account"])
    deployment.plan(book)

    tasks = deployment.tasks("my-job")
    assert sorted(task.did for task in tasks) == sorted(did(n) for n in (0, 1, 2, 5))
    keys = [key for key, _ in deployment.read(deployment.names.dids)]
    assert sorted(keys) == sorted(task.pds for task in tasks)
    spec = JobSpec.decode(deployment.read(deployment.names.job_specs)[0][1] or b"")
    assert (spec.job_id, spec.state) == ("my-job", "active")

    outcomes = deployment.outcomes()
    assert isinstance(outcomes[0], JobEvent)
    assert outcomes[0].event == "submitted"
    ended = {o.did: (o.status, o.reason) for o in outcomes if isinstance(o, RepoOutcome)}
    assert ended == {
        did(3): ("unavailable", "IdentityNotFound"),
        did(4): ("failed", "IdentityUnreachable"),
        "no account": ("failed", "IdentifierInvalid"),
    }
    assert deployment.planned("my-job") == PlanOutcome(
        job_id="my-job", planned=7, duplicates=1, finished=True
    )
    letters = [DeadLetter.decode(v or b"") for _, v in deployment.read(deployment.names.deadletter)]
    assert sorted(letter.payload or "" for letter in letters) == sorted([did(4), "no account"])
    checkpoint = PlanCheckpoint.decode(deployment.read(deployment.names.plans)[-1][1] or b"")
    assert (checkpoint.chunk, checkpoint.planned, checkpoint.finished) == (1, 7, True)
    assert os.listdir(deployment.settings.data_dir / "plans") == []


@pytest.mark.parametrize("deployment", [{"dids": 1}], indirect=True)
def test_hosts_alternate_in_each_chunk(deployment: Deployment, book: Book) -> None:
    by_host = sorted((did(n) for n in range(60)), key=lambda name: hash_of(name) % book.hosts)
    deployment.start("j", by_host)
    deployment.plan(book)
    hosts = [key for key, _ in deployment.read(deployment.names.dids)]
    least = min(Counter(hosts).values())
    assert least > 5
    turns = [set(hosts[at : at + book.hosts]) for at in range(0, least * book.hosts, book.hosts)]
    assert all(len(turn) == book.hosts for turn in turns)


def test_garbage_hurts_nobody(deployment: Deployment, book: Book) -> None:
    deployment.say("bad", b"\xff\x00 not json")
    deployment.say("bad", None)
    deployment.say(None, {"action": "start"})
    deployment.say("../evil", {"backfill": deployment.document()})
    deployment.say("good", {"action": "pause"})
    deployment.start("fine", [did(1)])
    deployment.start("bad", [did(2)])
    planner = deployment.plan(book)

    assert [task.job_id for task in deployment.tasks()] == ["fine"]
    events = [(o.job_id, o.event) for o in deployment.outcomes() if isinstance(o, JobEvent)]
    assert events == [
        ("bad", "rejected"),
        ("bad", "ignored"),
        ("job-2", "rejected"),
        ("job-3", "rejected"),
        ("good", "rejected"),
        ("fine", "submitted"),
        ("bad", "ignored"),
    ]
    assert len(deployment.read(deployment.names.deadletter)) == 6
    assert set(planner.failures) == {"bad", "job-2", "job-3", "good"}


def test_commands_are_followed_once_even_after_a_restart(deployment: Deployment, book: Book) -> None:
    deployment.start("j", [did(1)])
    deployment.plan(book)
    before = len(deployment.outcomes())
    deployment.plan(book)
    assert len(deployment.outcomes()) == before
    deployment.start("j", [did(1)])
    deployment.start("j", [did(2)])
    deployment.plan(book)
    assert deployment.events("j") == ["submitted", "ignored", "ignored"]
    assert [task.did for task in deployment.tasks()] == [did(1)]
    assert len(deployment.read(deployment.names.deadletter)) == 1
    names = deployment.names
    assert committed_offsets(deployment.admin, names.planner_group, names.jobs, [0]) == {0: 3}


def test_a_paused_job_waits_and_a_cancelled_one_ends(deployment: Deployment, book: Book) -> None:
    deployment.start("later", [did(1)])
    deployment.say("later", {"action": "pause"})
    deployment.start("never", [did(2)])
    deployment.say("never", {"action": "cancel"})
    deployment.start("now", [did(3)])
    with deployment.running(book):
        until(lambda: deployment.tasks("now"))
        assert {task.job_id for task in deployment.tasks()} == {"now"}
        assert deployment.planned("never") == PlanOutcome(job_id="never", planned=0, finished=True)
        deployment.say("later", {"action": "resume"})
        deployment.say("never", {"action": "resume"})
        until(lambda: deployment.tasks("later"))
    assert deployment.events("later") == ["submitted", "paused", "resumed"]
    assert deployment.events("never") == ["submitted", "cancelled", "ignored"]
    assert {task.job_id for task in deployment.tasks()} == {"now", "later"}


def test_a_cancel_is_heard_while_the_directory_is_silent(deployment: Deployment, book: Book) -> None:
    book.gate = lambda: False
    deployment.start("stuck", [did(1)])
    with deployment.running(book):
        until(lambda: book.asked)
        deployment.say("stuck", {"action": "cancel"})
        until(lambda: "cancelled" in deployment.events("stuck"))
        until(lambda: book.at_once == 0)
    assert deployment.planned("stuck").finished
    assert deployment.tasks() == []


def test_a_pause_when_a_chunk_is_nearly_ready_costs_nothing(deployment: Deployment, book: Book) -> None:
    """The command comes while the last accounts of the second chunk are resolved."""
    accounts = [did(n) for n in range(30)]

    def pause() -> bool:
        if len(book.asked) == 20:
            deployment.say("j", {"action": "pause"})
            time.sleep(0.3)  # the planner's client has fetched it by then
        return True

    book.gate = pause
    deployment.start("j", accounts, processing={"batch_size": 10})
    with deployment.running(book):
        until(lambda: "paused" in deployment.events("j"))
        deployment.say("j", {"action": "resume"})
        until(lambda: deployment.planned("j").finished)
    assert Counter(task.did for task in deployment.tasks("j")) == Counter(accounts)
    assert deployment.planned("j") == PlanOutcome(job_id="j", planned=30, finished=True)


def test_jobs_take_turns(deployment: Deployment, book: Book) -> None:
    for job, first in (("one", 0), ("two", 100)):
        accounts = [did(n) for n in range(first, first + 20)]
        deployment.start(job, accounts, processing={"batch_size": 5})
    deployment.plan(book)
    chunks = [o.job_id for o in deployment.outcomes() if isinstance(o, PlanOutcome)]
    assert chunks[:8] == ["one", "two"] * 4


@pytest.mark.parametrize("deployment", [{"tasks_per_partition": 2}], indirect=True)
def test_a_job_with_enough_to_do_gets_no_more(deployment: Deployment, book: Book) -> None:
    accounts = [did(n) for n in range(60)]
    deployment.start("large", accounts, processing={"batch_size": 5})
    with deployment.running(book):
        until(lambda: len(deployment.tasks("large")) >= 10)
        deployment.start("other", [did(99)])
        until(lambda: deployment.tasks("other"))
        # 4 partitions of 2 tasks: a chunk beyond 8 waiting tasks would be one too many.
        assert len(deployment.tasks("large")) == 10
        deployment.status("large", total=10, completed=5)
        until(lambda: len(deployment.tasks("large")) == 15)
        deployment.status("large", total=15, completed=15)
        until(lambda: len(deployment.tasks("large")) == 25)
        deployment.status("large", total=25, completed=25, status="error")
        deployment.start("last", [did(98)])
        until(lambda: deployment.tasks("last"))
    assert len(deployment.tasks("large")) == 25
    assert len({task.did for task in deployment.tasks("large")}) == 25


@pytest.mark.parametrize("deployment", [{"tasks_per_partition": 4, "window": 20}], indirect=True)
def test_a_large_job_leaves_room_in_what_the_workers_read_ahead(deployment: Deployment) -> None:
    """All of it at one host: what the partitions may hold together would lie in one, beyond its window."""
    book = Book(hosts=1)
    partition = partition_for("https://h0.example", 4)
    deployment.start("large", [did(n) for n in range(60)], processing={"batch_size": 5})
    with deployment.running(book):
        until(lambda: len(deployment.tasks("large")) >= 10)
        deployment.start("small", [did(99)])
        until(lambda: deployment.planned("small").finished)
        # Four partitions of 4 tasks would allow 20; but 10 and their transactions' ends are half a window.
        assert len(deployment.tasks("large")) == 10
        end = end_offsets(deployment.admin, deployment.names.dids, [partition])[partition]
        assert end > 10
        deployment.status("large", total=10, completed=1)
        deployment.start("small-too", [did(98)])
        until(lambda: deployment.planned("small-too").finished)
        assert len(deployment.tasks("large")) == 10
        deployment.workers_commit({partition: end})
        until(lambda: len(deployment.tasks("large")) == 20)


def test_a_source_that_can_not_be_read_ends_its_job_alone(
    deployment: Deployment, book: Book, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    deployment.start("lost", [], source={"type": "file", "path": str(tmp_path / "none.txt")})
    deployment.start("empty", [], source={"type": "file", "path": str(empty)})
    deployment.start("fine", [did(1)])
    deployment.plan(book)
    assert deployment.events("lost") == deployment.events("empty") == ["submitted", "source_failed"]
    assert deployment.planned("lost") == PlanOutcome(job_id="lost", planned=0, finished=True)
    assert [task.job_id for task in deployment.tasks()] == ["fine"]
    before = len(deployment.outcomes())
    deployment.plan(book)
    assert len(deployment.outcomes()) == before


def test_relative_paths_are_taken_from_where_the_planner_runs(
    deployment: Deployment, book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "accounts.txt").write_text(did(1))
    monkeypatch.chdir(tmp_path)
    deployment.start("j", [], source={"type": "file", "path": "accounts.txt"})
    deployment.plan(book)
    assert [task.did for task in deployment.tasks()] == [did(1)]


def test_one_of_two_planners_plans_and_the_other_takes_over(deployment: Deployment, book: Book) -> None:
    second_book = Book()
    with deployment.running(second_book) as second:
        with deployment.running(book) as first:
            until(lambda: first._publisher or second._publisher)
            deployment.start("a", [did(n) for n in range(40)], processing={"batch_size": 5})
            until(lambda: deployment.planned("a").finished)
            assert not (book.asked and second_book.asked)
        deployment.start("b", [did(n) for n in range(40)], processing={"batch_size": 5})
        until(lambda: deployment.planned("b").finished)
    for job in ("a", "b"):
        tasks = Counter(task.did for task in deployment.tasks(job))
        assert tasks == Counter(did(n) for n in range(40))


def test_a_planner_in_the_foreground_plans_its_job_alone(deployment: Deployment, book: Book) -> None:
    deployment.start("other", [did(1)])
    deployment.start("mine", [did(2)])
    deployment.plan(book, only_job="mine")
    assert [task.job_id for task in deployment.tasks()] == ["mine"]
    deployment.plan(book)
    assert {task.job_id for task in deployment.tasks()} == {"mine", "other"}


def test_tasks_that_are_done_are_deleted(deployment: Deployment, book: Book) -> None:
    deployment.start("j", [did(n) for n in range(40)])
    deployment.plan(book)
    deployment.workers_commit(end_offsets(deployment.admin, deployment.names.dids, range(4)))
    seconds = 0.0
    with deployment.running(book, monotonic=lambda: seconds):
        deployment.start("k", [did(1)])
        until(lambda: deployment.tasks("k"))
        assert len(deployment.tasks("j")) == 40
        seconds = 61.0
        until(lambda: not deployment.tasks("j"))
    assert [task.job_id for task in deployment.tasks()] == ["k"]


async def test_the_whole_of_it_over_the_network(deployment: Deployment) -> None:
    """`run_planner` with its own resolver, against a directory that speaks HTTP."""
    async with Network(seed=5, accounts=30, hosts=3, records=1) as network:
        accounts = list(network.dids)
        directory = NetworkSettings(
            plc_url=network.plc_url, handle_url=network.plc_url, allow_private_hosts=True
        )
        settings = deployment.settings.model_copy(update={"network": directory})
        deployment.start("web", [*accounts, "did:plc:" + "q" * 24, *accounts])
        await in_thread(settings, "web")
        tasks = deployment.tasks("web")
        assert sorted(task.did for task in tasks) == sorted(accounts)
        handles = [task.handle for task in tasks if task.handle]
        assert deployment.planned("web") == PlanOutcome(
            job_id="web", planned=31, duplicates=30, finished=True
        )
        deployment.start("by-handle", [*handles, *accounts])
        await in_thread(settings, "by-handle")
        assert sorted(task.did for task in deployment.tasks("by-handle")) == sorted(accounts)


async def in_thread(settings: Settings, job: str) -> None:
    await asyncio.to_thread(run_planner, settings, threading.Event(), only_job=job, until_planned=True)


def test_produce_says_why_a_job_can_not_be_planned(deployment: Deployment, tmp_path: Path) -> None:
    deployment.start("lost", [], source={"type": "file", "path": str(tmp_path / "none.txt")})
    with pytest.raises(SourceError, match=r"none\.txt does not exist"):
        run_planner(deployment.settings, threading.Event(), only_job="lost", until_planned=True)


def test_missing_topics_are_named_before_anything_else(deployment: Deployment) -> None:
    kafka = deployment.settings.kafka.model_copy(update={"topic_prefix": "none."})
    settings = deployment.settings.model_copy(update={"kafka": kafka})
    with pytest.raises(TopicMismatch, match="skyfill topics create"):
        run_planner(settings, threading.Event())


def test_stop_is_heard_at_once(deployment: Deployment, book: Book) -> None:
    book.gate = lambda: False
    deployment.start("stuck", [did(1)])
    with deployment.running(book):
        until(lambda: book.asked)
    assert deployment.tasks() == []
