"""The books of a job whose dead letters are replayed: they are those of each account's last end, no other."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.job_status import UNRESOLVED, Counts, JobStatus, Ledger
from schemas.outcomes import JobEvent, OutcomeStatus, Replaced, RepoOutcome
from stream_workers.tracker.book import Book, enter
from stream_workers.tracker.status import status_of
from tests.stream_workers.test_book import AT, SUBMITTED, Entry, Written, booked, event, plan, status, went

ONE, TWO = "https://one.test", "https://two.test"
ENDS: list[OutcomeStatus] = ["completed", "unavailable", "failed"]


def replayed(count: int, gathering: int = 0) -> JobEvent:
    return JobEvent(job_id="j", event="replayed", count=count, gathering=gathering, at=AT)


def again(before: RepoOutcome, status: OutcomeStatus, attempt: int = 1, **fields: Any) -> RepoOutcome:
    """What a replay of the account came to, after a failure."""
    replaced = Replaced(
        letter="0:1", did=before.did, host=before.host, reason=before.reason, error_type=before.error_type
    )
    return went(before.did, status, attempt, replay=before.replay + 1, replaces=replaced, **fields)


FAILED = went("a", "failed")
BEGUN: list[Entry] = [SUBMITTED, plan(2), FAILED, went("b", "completed")]


def seen(found: JobStatus) -> dict[str, Any]:
    """All but when it was."""
    return found.model_dump(exclude={"started_at", "finished_at", "replayed"})


def test_a_job_that_had_ended_goes_on_and_ends_again() -> None:
    assert status(*BEGUN).status == "partial_success"
    going = status(*BEGUN, replayed(1))
    assert (going.status, going.finished_at, going.replaying, going.outstanding) == ("processing", None, 1, 1)
    assert (going.totals.failed, going.totals.terminal) == (1, 2), "it counts as failed until it ends again"
    done = status(*BEGUN, replayed(1), again(FAILED, "completed"))
    assert (done.status, done.replaying, done.replayed, done.outstanding) == ("complete", 0, 1, 0)
    assert (done.total, done.totals.completed, done.totals.failed, done.reasons) == (2, 2, 0, {})
    assert done.finished_at == AT + timedelta(seconds=5)
    assert done.totals.errors == {"network_error": 1}, "that attempt did fail"


def test_an_account_moves_between_hosts_and_reasons() -> None:
    failed = went("a", "failed", host=None, reason="IdentityUnreachable")
    moved = again(failed, "failed", host=TWO, reason="HostTimeout", error_type="timeout_error")
    book = booked(SUBMITTED, plan(1), failed, replayed(1), moved)
    ledger, before, after = book.ledger, book.hosts[UNRESOLVED].counts, book.hosts[TWO].counts
    assert (before.failed, after.failed, ledger.totals.failed) == (0, 1, 1)
    assert (before.failed_by, after.failed_by) == ({}, {"timeout_error": 1})
    assert ledger.totals.failed_by == {"timeout_error": 1}
    assert ledger.reasons == {"HostTimeout": 1}
    assert status_of(ledger, AT).status == "error"


def test_attempts_of_a_replay_are_retries_like_any_other() -> None:
    tried = [*BEGUN, replayed(1), again(FAILED, "retrying")]
    assert (status(*tried).totals.retrying, status(*tried).totals.failed) == (1, 1)
    done = status(*tried, again(FAILED, "completed", 2))
    assert (done.totals.retrying, done.totals.failed, done.status) == (0, 0, "complete")


def test_a_repeat_or_an_unannounced_replay_is_ignored() -> None:
    assert status(*BEGUN, again(FAILED, "completed")) == status(*BEGUN)
    done: list[Entry] = [*BEGUN, replayed(1), again(FAILED, "completed")]
    assert status(*done, again(FAILED, "completed")) == status(*done)


def test_a_job_does_not_end_while_a_hosts_accounts_are_gathered() -> None:
    gathering: list[Entry] = [*BEGUN, replayed(0, gathering=1), replayed(1, gathering=1)]
    assert status(*gathering, again(FAILED, "completed")).status == "processing"
    assert status(*gathering, again(FAILED, "completed"), replayed(0)).status == "complete"
    assert status(*gathering, replayed(0), again(FAILED, "completed")).status == "complete"


def test_a_job_that_goes_on_may_be_paused_and_cancelled() -> None:
    going: list[Entry] = [*BEGUN, replayed(1)]
    assert status(*going, event("paused")).status == "paused"
    cancelled = status(*going, event("cancelled"), again(FAILED, "cancelled"))
    assert (cancelled.status, cancelled.totals.cancelled, cancelled.totals.failed) == ("cancelled", 1, 0)


def test_a_job_that_ended_in_a_pause_goes_on() -> None:
    """The planner says so, after the replay."""
    paused: list[Entry] = [SUBMITTED, plan(1), event("paused"), FAILED, replayed(1)]
    assert status(*paused).status == "paused"
    assert status(*paused, event("resumed")).status == "processing"


@given(
    st.lists(st.lists(st.tuples(st.sampled_from(ENDS), st.sampled_from([ONE, TWO])), min_size=1), max_size=5),
    st.data(),
)
def test_the_counts_are_those_of_each_accounts_last_end(
    wanted: list[list[tuple[OutcomeStatus, str]]], data: st.DataObject
) -> None:
    """Lives of accounts, one after the other as long as they fail, in any order among accounts."""
    lives = [ends[: next((n for n, end in enumerate(ends) if end[0] != "failed"), 99) + 1] for ends in wanted]
    last: dict[int, RepoOutcome] = {}
    book, written = Book(Ledger(job_id="j")), Written()
    entries: list[Entry] = [SUBMITTED, plan(len(lives))]
    waiting = {number: list(ends) for number, ends in enumerate(lives)}
    while waiting := {number: ends for number, ends in waiting.items() if ends}:
        number = data.draw(st.sampled_from(sorted(waiting)))
        end, host = waiting[number].pop(0)
        if (before := last.get(number)) is None:
            last[number] = went(f"{number}", end, host=host)
        else:
            entries.append(replayed(1))
            last[number] = again(before, end, host=host)
        entries.append(last[number])
    for entry in entries:
        enter(book, entry, AT)
        book = written.read_back(book)
    ledger = book.ledger
    ends = Counter(outcome.status for outcome in last.values())
    assert {each: getattr(ledger.totals, each) for each in ENDS} == {each: ends[each] for each in ENDS}
    for host in (ONE, TWO):
        here = Counter(outcome.status for outcome in last.values() if outcome.host == host)
        counts = book.hosts[host].counts if host in book.hosts else Counts()
        assert {e: getattr(counts, e) for e in ENDS} == {e: here[e] for e in ENDS}
        assert counts.failed_by == ({"network_error": here["failed"]} if here["failed"] else {})
    reasons = Counter(outcome.reason for outcome in last.values() if outcome.reason)
    assert ledger.reasons == reasons
    assert (ledger.replaying, ledger.finished_at is not None) == (0, True)
    assert ledger.replayed == sum(len(ends) - 1 for ends in lives)


@pytest.mark.parametrize("count", [1, 3])
def test_forged_figures_leave_a_ledger_that_can_be_read(count: int) -> None:
    """Anybody may write to the topic; the next tracker has to be able to go on."""
    forged = again(went("x", "failed", host="https://nowhere.test"), "failed")
    late = went("y", "completed", attempt=2)
    ledger = booked(plan(1), *[replayed(count)], *[forged] * 5, late, late).ledger
    assert ledger.replaying == 0
    assert ledger.totals.failed >= 0
