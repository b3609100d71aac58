"""Planners that die around a replay's transaction: every letter is replayed once all the same."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from schemas.errors import IdentityUnreachable
from tests.producers.deployment import Book, Deployment, did
from tests.producers.failing import Workers, answers, ledger, replay, traces
from tests.producers.test_planner_killed import begin

ACCOUNTS = [did(n) for n in range(24)]
LOST = ACCOUNTS[:5]
"""These did not resolve at first."""


@pytest.mark.parametrize("point", ["commit:SIGKILL:1", "after:SIGKILL:1", "tasks:SIGKILL:2"])
def test_a_killed_planner_replays_nothing_twice_and_forgets_nothing(
    deployment: Deployment, book: Book, tmp_path: Path, point: str
) -> None:
    """The first transaction with tasks is the command's, the second that of what had to be looked up."""
    workers = Workers(deployment)
    book.answers = dict.fromkeys(LOST, IdentityUnreachable("silent"))
    deployment.start("j", ACCOUNTS)
    deployment.plan(book)
    tasks = workers.left("j")
    failed = tasks[:7]
    letters = [f"0:{number}" for number in range(len(LOST))] + workers.fail(failed)
    given_up = [task for task in tasks[7:] if task.pds == tasks[-1].pds]
    letters.append(workers.give_up(given_up))
    workers.complete("j")
    wanted = Counter([*LOST, *(task.did for task in [*failed, *given_up])])

    replay(deployment, "j", letters)
    doomed = begin(deployment, tmp_path, point)
    assert doomed.wait(60) == -signal.SIGKILL
    replay(deployment, "j", letters[:-1])
    deployment.plan(Book())

    again = [task for task in workers.left("j") if task.replay]
    assert Counter(task.did for task in again) == wanted
    assert sum(event.count or 0 for event in answers(deployment, "j")) == wanted.total()
    assert set(traces(deployment)) == set(map(str, letters))
    assert not any(trace.pending for trace in traces(deployment).values())
    workers.complete("j")
    books = ledger(deployment, "j")
    assert (books.totals.completed, books.totals.failed, books.replaying) == (len(ACCOUNTS), 0, 0)
    assert (books.planned, books.replayed, books.gathering) == (len(ACCOUNTS), wanted.total(), 0)
    assert books.finished_at is not None
