"""What a job's people are told beside its counts: its events, and samples of what failed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from schemas.job_status import Ledger
from schemas.outcomes import JobEvent
from stream_workers.tracker.book import Book, enter
from stream_workers.tracker.waiting import grow_stale, let_go
from tests.stream_workers.test_book import AT, SUBMITTED, Entry, booked, event, plan, status, went
from tests.stream_workers.test_book_replays import FAILED, again, replayed

FORCED = event("cancelled").model_copy(update={"forced": True})
AFTER, KEPT = timedelta(minutes=10), timedelta(days=30)


def told(*entries: Entry) -> list[tuple[str, str | None]]:
    return [(entry.event, entry.detail) for entry in status(*entries).history]


# Events


def test_the_history_tells_commands_and_what_followed() -> None:
    replay = JobEvent(
        job_id="j", event="replayed", command=7, count=1, letters=1, refused={"why": ["0:2"]}, at=AT
    )
    assert told(
        SUBMITTED,
        event("noted", "a host was left out"),
        plan(1, finished=False),
        event("paused"),
        event("ignored", "the job is paused already"),
        event("resumed"),
        FAILED,
        plan(1),
        replay,
        replayed(0),  # of a batch that follows from a command
        again(FAILED, "completed"),
        event("ignored", "the job has ended; can't pause it"),
        event("paused"),  # comes too late, and changes nothing
    ) == [
        ("submitted", None),
        ("noted", "a host was left out"),
        ("paused", None),
        ("ignored", "the job is paused already"),
        ("resumed", None),
        ("planned", "1 account"),
        ("ended", "error"),
        ("replayed", "1 dead letter, 1 account so far; 1 letter refused"),
        ("ended", "complete"),
        ("ignored", "the job has ended; can't pause it"),
    ]


def test_a_refused_command_about_nothing_makes_no_job() -> None:
    assert booked(event("ignored", "there is no job to pause")).ledger == Ledger(job_id="j")


def test_a_rejected_job_says_why_and_nothing_else() -> None:
    assert told(event("rejected", "no `storage`")) == [("rejected", "no `storage`")]


# Errors


def test_errors_are_summed_up_with_samples_of_different_reasons() -> None:
    def failed(did: str, reason: str, **more: Any) -> Entry:
        return went(did, "failed", reason=reason, detail=f"{did} broke", **more)

    found = status(
        plan(9),
        went("a", "retrying", detail="first"),
        went("a", "failed", 2, detail="second"),
        failed("b", "HostTimeout"),
        failed("c", "HostTimeout", host="https://two.test"),
        failed("d", "TlsInvalid"),
        failed("e", "ConnectionReset"),
        went("f", "completed"),
    ).errors["network_error"]
    assert (found.retryable, found.permanent) == (1, 5)
    samples = [(sample.reason, sample.did, sample.host) for sample in found.samples]
    assert samples == [
        ("HostTimeout", "c", "https://two.test"),
        ("TlsInvalid", "d", "https://one.test"),
        ("ConnectionReset", "e", "https://one.test"),
    ]
    assert found.samples[0].detail == "c broke"


def test_the_newest_rev_is_that_of_a_repository_not_of_anybodys_text() -> None:
    revs = ["3l3qo2vutsw2b", "3l3qo2vuttw2b", "", "zzzzzzzzzzzzz", "3l3"]
    book = booked(*(went(f"{n}", "completed", rev=rev) for n, rev in enumerate(revs)))
    assert book.ledger.newest_rev == "3l3qo2vuttw2b"
    assert [page.newest_rev for page in book.hosts.values()] == ["3l3qo2vuttw2b"]


# Cancelled at once, schedules


def test_a_forced_cancellation_ends_a_job_at_once_and_late_outcomes_still_count() -> None:
    entries: list[Entry] = [SUBMITTED, plan(3, finished=False), went("a", "retrying"), FORCED]
    ended = status(*entries)
    assert (ended.status, ended.finished_at, ended.plan_finished) == (
        "cancelled",
        AT + timedelta(seconds=3),
        True,
    )
    late: list[Entry] = [
        *entries,
        plan(3),
        went("a", "completed", 2),
        went("b", "cancelled"),
        went("c", "failed"),
        replayed(0),  # what the planner tells when it calls off what was to be looked up
        event("resumed"),
    ]
    found = status(*late)
    assert (found.status, found.finished_at) == ("cancelled", ended.finished_at)
    totals = found.totals
    assert (totals.completed, totals.cancelled, totals.failed, totals.retrying) == (1, 1, 1, 0)
    assert told(*late)[-1] == ("ended", "cancelled")


def test_a_cancellation_under_way_may_be_forced() -> None:
    entries: list[Entry] = [SUBMITTED, plan(2), event("cancelled"), went("a", "cancelled")]
    assert status(*entries).status == "processing"
    assert status(*entries, FORCED).status == "cancelled"


def test_a_schedule_stays_queued_and_says_when() -> None:
    entries: list[Entry] = [SUBMITTED, event("scheduled", "next run tomorrow")]
    found = status(*entries, event("scheduled", "next run on Friday"))
    assert (found.status, found.detail, found.scheduled) == ("queued", "next run on Friday", True)
    assert status(*entries, event("paused")).status == "paused"
    assert status(*entries, event("paused"), event("resumed")).status == "queued"
    assert status(*entries, event("cancelled"), plan(0)).status == "cancelled"


def test_a_job_that_was_cancelled_before_it_started_never_did() -> None:
    found = status(SUBMITTED, event("cancelled"), plan(0))
    assert (found.status, found.started_at) == ("cancelled", None)


# Stale


def late_by(minutes: float, *entries: Entry) -> Ledger:
    """The ledger so long after the last of these, looked at once."""
    ledger = booked(*entries).ledger
    grow_stale(ledger, AT + timedelta(minutes=minutes, seconds=len(entries) - 1), AFTER)
    return Ledger.decode(ledger.encode())


WORKING: list[Entry] = [SUBMITTED, plan(3), went("a", "completed")]


@pytest.mark.parametrize(
    "entries",
    [
        [SUBMITTED],
        [SUBMITTED, plan(0, finished=False)],
        WORKING,
        [*WORKING, event("cancelled")],
        [*WORKING, went("b", "completed"), went("c", "failed"), replayed(1)],
        [*WORKING, went("b", "retrying", due_at=AT)],
        [*WORKING, event("paused"), event("resumed")],
        [SUBMITTED, plan(2, finished=False), event("source_failed", "gone")],
    ],
)
def test_a_job_that_nothing_comes_for_grows_stale(entries: list[Entry]) -> None:
    assert late_by(9.9, *entries).stale_since is None
    found = late_by(10, *entries)
    assert found.stale_since is not None
    assert found.history[-1].event == "stale"


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [*WORKING, event("paused")],
        [SUBMITTED, plan(1), went("a", "completed")],
        [SUBMITTED, event("scheduled", "next run tomorrow")],
        [event("rejected", "no")],
        [*WORKING, FORCED],
    ],
)
def test_a_job_that_nothing_has_to_come_for_does_not(entries: list[Entry]) -> None:
    assert late_by(10_000, *entries).stale_since is None


def test_a_job_is_not_stale_before_its_next_attempt_is_overdue() -> None:
    later = AT + timedelta(hours=3)
    entries = [*WORKING, went("b", "retrying", due_at=later), went("c", "retrying", due_at=AT)]
    assert late_by(180, *entries).stale_since is None
    assert late_by(195, *entries).stale_since == later


def test_any_outcome_ends_it_and_a_command_about_nothing_does_not() -> None:
    book = booked(*WORKING)
    assert grow_stale(book.ledger, AT + timedelta(hours=1), AFTER)
    assert not grow_stale(book.ledger, AT + timedelta(hours=2), AFTER), "it is said once"
    since = book.ledger.stale_since
    written = [event("ignored", "it was started before"), went("b", "completed")]
    for one, expected in zip(written, (since, None), strict=True):
        enter_at(book, one, hours=3)
        assert book.ledger.stale_since == expected
    assert [entry.event for entry in book.ledger.history][-3:] == ["stale", "ignored", "going_on"]
    assert not grow_stale(book.ledger, AT + timedelta(hours=3, minutes=9), AFTER)
    assert grow_stale(book.ledger, AT + timedelta(hours=3, minutes=10), AFTER)
    enter_at(book, event("paused"), hours=4)
    assert book.ledger.stale_since is None


def enter_at(book: Book, entry: Entry, *, hours: float) -> None:
    assert enter(book, entry, AT + timedelta(hours=hours))


# Long after the end


def test_hosts_samples_and_events_are_let_go_after_a_month_and_the_job_stays_final() -> None:
    ended = booked(SUBMITTED, plan(2), FAILED, went("b", "completed"))
    before = ended.ledger.model_copy(deep=True)
    at = AT + timedelta(seconds=3)
    assert not let_go(ended, at + timedelta(days=29.9), KEPT)
    assert let_go(ended, at + KEPT, KEPT)
    assert list(ended.changes()) == [("j https://one.test", None)], "a tombstone for each host"
    slim = ended.ledger
    assert (slim.history, slim.errors["network_error"].samples) == ([], [])
    assert slim.errors["network_error"].permanent == 1
    for kept in ("totals", "reasons", "planned", "finished_at", "state"):
        assert getattr(slim, kept) == getattr(before, kept)
    ended.written()
    assert not let_go(ended, at + 2 * KEPT, KEPT), "nothing is left to let go"
    assert not let_go(booked(*WORKING), AT + 9 * KEPT, KEPT), "it has not ended"


def test_a_replay_after_that_is_exact_for_the_job_and_begins_its_hosts_anew() -> None:
    book = booked(SUBMITTED, plan(2), FAILED, went("b", "failed", host="https://two.test"))
    assert let_go(book, AT + 2 * KEPT, KEPT)
    book.written()
    lately = 24 * 60.0
    enter_at(book, replayed(2), hours=lately)
    enter_at(book, again(FAILED, "completed"), hours=lately)
    enter_at(book, again(went("b", "failed", host="https://two.test"), "failed"), hours=lately)
    ledger = book.ledger
    assert (ledger.totals.completed, ledger.totals.failed, ledger.totals.failed_by) == (
        1,
        1,
        {"network_error": 1},
    )
    assert (ledger.replaying, ledger.finished_at is not None) == (0, True)
    assert {host: page.counts.terminal for host, page in book.hosts.items()} == {"https://one.test": 2}
