"""Replays on a real broker: each letter is replayed once, whoever asks, and the books stay exact."""

from __future__ import annotations

import threading
import tracemalloc
from collections import Counter
from datetime import UTC, datetime

import pytest
from confluent_kafka import TopicPartition

from messaging.letters import GONE, MISSING
from messaging.topics import end_offsets
from producers import lookups
from producers.replays import ALREADY
from schemas.deadletter import DeadLetter, LetterId
from schemas.dids import DidTask
from schemas.errors import IdentityNotFound, IdentityUnreachable
from schemas.job_specs import JobSpec
from schemas.job_status import UNRESOLVED
from schemas.outcomes import RepoOutcome
from tests.producers.deployment import Book, Deployment, did, until
from tests.producers.failing import Workers, answers, counts_by_host, ledger, replay, traces


@pytest.fixture
def workers(deployment: Deployment) -> Workers:
    return Workers(deployment)


def started(deployment: Deployment, book: Book, job: str, count: int) -> list[DidTask]:
    """A job that is planned; its tasks."""
    deployment.start(job, [did(n) for n in range(count)])
    deployment.plan(book)
    return sorted(deployment.tasks(job), key=lambda task: task.did)


def specs(deployment: Deployment, job: str) -> list[str]:
    found = [JobSpec.decode(value or b"") for _, value in deployment.read(deployment.names.job_specs)]
    return [spec.state for spec in found if spec.job_id == job]


def test_a_letter_is_replayed_once_and_its_account_ends_anew(
    deployment: Deployment, book: Book, workers: Workers
) -> None:
    tasks = started(deployment, book, "j", 5)
    tried = tasks[0].model_copy(update={"attempt": 4, "moves": 1, "not_before": datetime.now(UTC)})
    letters = workers.fail([tried, tasks[1], tasks[2]])
    workers.complete("j")
    books = ledger(deployment, "j")
    assert (books.totals.failed, books.totals.completed, books.finished_at is not None) == (3, 2, True)

    replay(deployment, "j", [*letters[:2], letters[0]])
    replay(deployment, "j", letters[:2])
    replay(deployment, "j", letters)
    deployment.plan(book)
    again = {task.did: task for task in workers.left("j")}
    assert set(again) == {task.did for task in tasks[:3]}
    first = again[tried.did]
    assert (first.attempt, first.replay, first.moves, first.not_before) == (1, 1, 0, None)
    assert (first.pds, first.signing_key) == (tried.pds, tried.signing_key)
    assert first.replaces is not None
    assert (first.replaces.letter, first.replaces.host) == (str(letters[0]), tried.pds)
    told = [(event.event, event.count, event.letters, event.refused) for event in answers(deployment, "j")]
    assert told == [
        ("replayed", 2, 2, None),
        ("ignored", None, None, {ALREADY: [str(each) for each in letters[:2]]}),
        ("replayed", 1, 1, {ALREADY: [str(each) for each in letters[:2]]}),
    ]
    assert [event.command for event in answers(deployment, "j")] == [1, 2, 3]
    assert set(traces(deployment)) == {str(each) for each in letters}
    books = ledger(deployment, "j")
    assert (books.replaying, books.totals.failed, books.finished_at) == (3, 3, None)

    # One fails again: its new letter may be replayed, the old one may not.
    second = workers.fail([first])
    workers.complete("j")
    books = ledger(deployment, "j")
    assert (books.totals.failed, books.totals.completed, books.replaying) == (1, 4, 0)
    replay(deployment, "j", [letters[0], *second])
    deployment.plan(book)
    [last] = workers.left("j")
    assert (last.did, last.replay, last.replaces and last.replaces.letter) == (tried.did, 2, str(second[0]))
    workers.complete("j")
    books = ledger(deployment, "j")
    assert (books.totals.completed, books.totals.terminal, books.planned, books.reasons) == (5, 5, 5, {})
    assert all(counts.failed == 0 for counts in counts_by_host(deployment, "j").values())
    assert books.finished_at is not None


def test_letters_that_can_not_be_replayed_are_refused_one_by_one(
    deployment: Deployment, book: Book, workers: Workers
) -> None:
    mine = started(deployment, book, "mine", 3)
    other = started(deployment, book, "other", 1)
    expired, good, foreign = *workers.fail(mine[:2]), *workers.fail(other)
    record, unknown = (
        workers.put(
            DeadLetter(
                stage=stage,
                error_type="validation_failed",
                reason=reason,
                job_id="mine",
                did=did(1),
                at=datetime.now(UTC),
            )
        )
        for stage, reason in (("record", "RecordInvalid"), ("fetch", "UnknownJob"))
    )
    deployment.say("mine", b"no command")
    deployment.plan(book)
    command = LetterId(0, unknown.offset + 2)  # its own transaction's marker lies between
    place = TopicPartition(deployment.names.deadletter, 0, expired.offset + 1)
    deployment.admin.delete_records([place])[place].result(30)

    replay(deployment, "mine", [expired, good, foreign, record, unknown, command, "0:99999", "7:0"])
    deployment.plan(book)
    assert [task.did for task in workers.left("mine") if task.replay] == [mine[1].did]
    [event] = answers(deployment, "mine")
    reasons = {letter: why for why, letters in (event.refused or {}).items() for letter in letters}
    assert reasons.pop(str(expired)) == GONE
    assert (reasons.pop("0:99999"), reasons.pop("7:0")) == (MISSING, MISSING)
    assert "another job" in reasons.pop(str(foreign))
    assert "one record is broken" in reasons.pop(str(record))
    assert "belonged to no job" in reasons.pop(str(unknown))
    assert "refused" in reasons.pop(str(command))
    assert reasons == {}
    assert (event.event, event.count, event.letters) == ("replayed", 1, 1)


def test_a_job_that_runs_is_paused_or_was_cancelled(
    deployment: Deployment, book: Book, workers: Workers
) -> None:
    jobs = ("runs", "paused", "ended", "cancelled")
    tasks = {job: started(deployment, book, job, 2) for job in jobs}
    letters = {job: workers.fail(tasks[job][:1]) for job in jobs}
    for job in ("paused", "ended"):
        deployment.say(job, {"action": "pause"})
    deployment.say("cancelled", {"action": "cancel"})
    deployment.plan(book)
    workers.complete("ended")
    deployment.status("ended", total=2, completed=1, status="partial_success")
    with deployment.running(book):
        for job in jobs:
            replay(deployment, job, letters[job])
        until(lambda: len(deployment.events("cancelled")) == 3)
        assert [bool([t for t in workers.left(job) if t.replay]) for job in jobs] == [True, True, True, False]
        # A job whose replay the tracker has not heard of yet may be cancelled all the same.
        deployment.say("ended", {"action": "cancel"})
        until(lambda: "cancelled" in deployment.events("ended"))
    assert specs(deployment, "runs") == ["active"]
    assert specs(deployment, "paused") == ["active", "paused"]
    assert specs(deployment, "ended") == ["active", "paused", "active", "cancelled"]
    assert deployment.events("ended") == ["submitted", "paused", "replayed", "resumed", "cancelled"]
    assert deployment.events("cancelled") == ["submitted", "cancelled", "ignored"]
    workers.complete("runs")
    books = ledger(deployment, "runs")
    assert (books.totals.completed, books.totals.failed, books.finished_at is not None) == (2, 0, True)
    assert ledger(deployment, "paused").state == "paused"


def test_an_entry_that_never_resolved_is_looked_up_again(
    deployment: Deployment, book: Book, workers: Workers
) -> None:
    """Even under a handle; and one that fails again has a letter of its own, which may be replayed."""
    silent = IdentityUnreachable("silent")
    handle, lost = "alice.example", did(4)
    book.answers = {handle: silent, did(3): silent, lost: silent}
    deployment.start("j", [did(1), handle, did(3), lost])
    deployment.plan(book)
    workers.complete("j")
    found = [DeadLetter.decode(v or b"") for _, v in deployment.read(deployment.names.deadletter)]
    letters = {letter.did: LetterId(0, number) for number, letter in enumerate(found)}
    assert counts_by_host(deployment, "j")[UNRESOLVED].failed == 3

    book.answers = {handle: book.identity(did(9)), did(3): IdentityNotFound("gone"), lost: silent}
    replay(deployment, "j", letters.values())
    replay(deployment, "j", letters.values())
    deployment.plan(book)
    [task] = workers.left("j")
    assert (task.did, task.replay, task.replaces and task.replaces.did) == (did(9), 1, handle)
    assert [event.count for event in answers(deployment, "j")] == [3, None]
    workers.complete("j")
    books = ledger(deployment, "j")
    assert (books.totals.completed, books.totals.unavailable, books.totals.failed) == (2, 1, 1)
    assert counts_by_host(deployment, "j")[UNRESOLVED].failed == 1
    assert (books.planned, books.finished_at is not None) == (4, True)

    book.answers = {}
    found = [DeadLetter.decode(v or b"") for _, v in deployment.read(deployment.names.deadletter)]
    assert (found[-1].did, found[-1].replay, found[-1].stage) == (lost, 1, "plan")
    end = end_offsets(deployment.admin, deployment.names.deadletter, [0], committed=False)[0]
    replay(deployment, "j", [LetterId(0, end - 2)])  # its transaction's marker comes after it
    deployment.plan(book)
    workers.complete("j")
    books = ledger(deployment, "j")
    assert (books.totals.completed, books.totals.unavailable, books.totals.terminal) == (3, 1, 4)
    assert books.reasons == {"IdentityNotFound": 1}
    last = [o for o in deployment.outcomes() if isinstance(o, RepoOutcome)][-1]
    assert (last.did, last.replay, last.replaces and last.replaces.did) == (lost, 2, lost)


def test_a_job_that_is_cancelled_gets_no_more_tasks_for_what_is_looked_up(
    deployment: Deployment, book: Book, workers: Workers
) -> None:
    book.answers = {did(0): IdentityUnreachable("silent")}
    started(deployment, book, "j", 2)
    workers.complete("j")
    book.answers, book.gate = {}, lambda: False
    before = len(book.asked)
    with deployment.running(book):
        replay(deployment, "j", ["0:0"])
        until(lambda: len(book.asked) > before)
        deployment.say("j", {"action": "cancel"})
        until(lambda: "cancelled" in deployment.events("j"))
        book.gate = lambda: True
        until(lambda: not traces(deployment)["0:0"].pending)
    for task in workers.left("j"):
        assert task.replay == 1, "it was on its way already; a worker ends it as cancelled"
    workers.complete("j")
    books = ledger(deployment, "j")
    assert (books.state, books.replaying, books.totals.terminal) == ("cancelled", 0, 2)
    assert books.finished_at is not None


def test_a_given_up_hosts_accounts_are_replayed_together(
    deployment: Deployment, book: Book, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "MOST_ACCOUNTS", 4)
    tasks = started(deployment, book, "j", 40)
    at_host: dict[str, list[DidTask]] = {}
    for task in tasks:
        at_host.setdefault(task.pds, []).append(task)
    dead, *others = sorted(at_host, key=lambda host: len(at_host[host]), reverse=True)
    here = at_host[dead]
    letter = workers.give_up(here[:-2])
    # Not of the lot: another reason, another host, and what is given up later.
    own = workers.fail(at_host[others[0]][:1])
    workers.give_up(at_host[others[1]][:1], letter=False)
    moved = here[0].did
    book.answers = {moved: book.identity(moved)._replace(pds="https://new.example")}

    replay(deployment, "j", [letter, letter])
    replay(deployment, "j", [letter])
    deployment.plan(book)
    again = [task for task in workers.left("j") if task.replay]
    assert Counter(task.did for task in again) == Counter(task.did for task in here[:-2])
    assert next(task.pds for task in again if task.did == moved) == "https://new.example"
    assert {(task.attempt, task.replay) for task in again} == {(1, 1)}
    events = answers(deployment, "j")
    assert sum(event.count or 0 for event in events) == len(here) - 2
    assert [event.gathering for event in events][-1] == 0
    assert max(event.count or 0 for event in events) == 4, "a few at a time"
    assert traces(deployment)[str(letter)].accounts == len(here) - 2

    # The host stays dead for the last two, and one of the lot goes the same way once more.
    workers.give_up([*here[-2:], next(t for t in again if t.did == here[1].did)], letter=False)
    replay(deployment, "j", [letter, *own])
    deployment.plan(book)
    replays = Counter((task.did, task.replay) for task in deployment.tasks("j"))
    assert max(replays.values()) == 1
    assert {task.did for task in workers.left("j") if task.replay == 2} == {here[1].did}
    assert {task.did for task in here[-2:]} <= {task.did for task in workers.left("j")}
    workers.complete("j")
    books = ledger(deployment, "j")
    assert (books.totals.completed, books.totals.failed, books.replaying) == (39, 1, 0)
    assert (books.reasons, books.finished_at is not None) == ({"HostGivenUp": 1}, True)
    assert counts_by_host(deployment, "j")[dead].failed == 0


@pytest.mark.timeout(240)
def test_five_thousand_letters_pass_in_little_memory(
    deployment: Deployment, book: Book, workers: Workers
) -> None:
    """A hundred megabytes of letters, of which never more than a few are held."""
    tasks = started(deployment, book, "j", 5_000)
    letters = workers.fail(tasks, detail="x" * 20_000)
    for begin in range(0, len(letters), 1000):
        replay(deployment, "j", letters[begin : begin + 1000])
    with deployment.planner(book) as planner:
        tracemalloc.start()
        planner.run(threading.Event(), until_planned=True)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 40e6
    again = Counter(task.did for task in workers.left("j") if task.replay == 1)
    assert again == Counter(task.did for task in tasks)
    assert [event.count for event in answers(deployment, "j")] == [1000] * 5
