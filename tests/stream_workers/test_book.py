"""The books of a job: any order of arrival gives the same totals, and what is final stays so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.job_status import UNRESOLVED, Counts, JobHost, JobStatus, Ledger
from schemas.outcomes import JobEvent, OutcomeStatus, PlanOutcome, RepoOutcome
from stream_workers.tracker.book import Book, books_of, enter
from stream_workers.tracker.status import status_of

AT = datetime(2026, 1, 1, tzinfo=UTC)
POST, LIKE = "app.bsky.feed.post", "app.bsky.feed.like"
Entry = RepoOutcome | PlanOutcome | JobEvent
Event = Literal[
    "submitted", "paused", "resumed", "cancelled", "rejected", "ignored", "source_failed", "noted"
]


def event(kind: Event, detail: str | None = None) -> JobEvent:
    return JobEvent(job_id="j", event=kind, name="a name", detail=detail, at=AT)


def plan(planned: int, *, finished: bool = True, duplicates: int = 0) -> PlanOutcome:
    return PlanOutcome(job_id="j", planned=planned, finished=finished, duplicates=duplicates)


def went(did: str, status: OutcomeStatus, attempt: int = 1, **fields: Any) -> RepoOutcome:
    """An account's outcome; failures have a reason, completed ones two records."""
    given_fields: dict[str, Any] = {"host": "https://one.test"}
    if status == "completed":
        given_fields |= {"records": {POST: 2}, "bytes": 100}
    elif status == "unavailable":
        given_fields |= {"error_type": "data_unavailable", "reason": "RepoTakendown"}
    elif status in ("failed", "retrying"):
        given_fields |= {"error_type": "network_error", "reason": "HostUnreachable"}
    return RepoOutcome.model_validate(
        {"job_id": "j", "did": did, "status": status, "attempt": attempt} | given_fields | fields
    )


class Written:
    """What a tracker writes of a job's book, and what its successor makes of it."""

    def __init__(self) -> None:
        self._pages: dict[str, bytes] = {}

    def read_back(self, book: Book) -> Book:
        """The book as it was written last, each change alone."""
        for key, page in book.changes():
            if page is None:
                del self._pages[key]
            else:
                self._pages[key] = page.encode()
        pages = [JobHost.decode(value) for value in self._pages.values()]
        return books_of([Ledger.decode(book.ledger.encode())], pages)[book.ledger.job_id]


def booked(*entries: Entry) -> Book:
    """The book after these, one second apart; between any two it is written and read back."""
    book, written = Book(Ledger(job_id="j")), Written()
    for number, entry in enumerate(entries):
        enter(book, entry, AT + timedelta(seconds=number))
        book = written.read_back(book)
    return book


def status(*entries: Entry) -> JobStatus:
    return status_of(booked(*entries).ledger, AT)


SUBMITTED = event("submitted")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], "queued"),
        ([SUBMITTED], "queued"),
        ([SUBMITTED, event("paused")], "paused"),
        ([SUBMITTED, event("paused"), event("resumed")], "queued"),
        ([SUBMITTED, plan(2, finished=False)], "processing"),
        ([SUBMITTED, plan(2)], "processing"),
        ([SUBMITTED, plan(2), event("paused")], "paused"),
        ([SUBMITTED, plan(2), event("paused"), event("ignored")], "paused"),
        ([SUBMITTED, event("noted", "a host was left out")], "queued"),
        ([SUBMITTED, plan(2), event("paused"), event("resumed")], "processing"),
        ([SUBMITTED, plan(0)], "complete"),
        ([SUBMITTED, plan(1), went("a", "completed")], "complete"),
        ([SUBMITTED, plan(1), went("a", "unavailable")], "complete"),
        ([SUBMITTED, plan(1), went("a", "skipped")], "complete"),
        ([SUBMITTED, plan(1), went("a", "failed")], "error"),
        ([SUBMITTED, plan(2), went("a", "failed"), went("b", "unavailable")], "partial_success"),
        ([SUBMITTED, plan(2), went("a", "failed"), went("b", "skipped")], "partial_success"),
        ([SUBMITTED, plan(2), went("a", "failed"), went("b", "completed")], "partial_success"),
        ([SUBMITTED, plan(2), went("a", "completed")], "processing"),
        ([SUBMITTED, plan(1), went("a", "retrying")], "processing"),
        ([SUBMITTED, plan(1), went("a", "retrying"), went("a", "completed", 2)], "complete"),
        ([SUBMITTED, plan(1, finished=False), went("a", "completed")], "processing"),
        ([SUBMITTED, plan(1, finished=False), went("a", "completed"), plan(1)], "complete"),
        ([SUBMITTED, went("a", "completed"), plan(1)], "complete"),
        ([went("a", "completed"), plan(1), SUBMITTED], "complete"),
        ([SUBMITTED, plan(2), event("cancelled"), went("a", "cancelled")], "processing"),
        ([SUBMITTED, plan(2), event("cancelled"), went("a", "cancelled"), went("b", "failed")], "cancelled"),
        ([SUBMITTED, plan(1), event("cancelled"), went("a", "failed")], "cancelled"),
        ([SUBMITTED, event("paused"), event("cancelled"), plan(0)], "cancelled"),
        ([event("rejected", "no such key")], "error"),
        ([SUBMITTED, plan(1, finished=False), event("source_failed", "gone")], "processing"),
        ([SUBMITTED, event("source_failed", "gone")], "error"),
        ([SUBMITTED, plan(1, finished=False), event("source_failed", "x"), went("a", "completed")], "error"),
    ],
)  # fmt: skip
def test_the_status_follows_from_what_was_entered(entries: list[Entry], expected: str) -> None:
    found = status(*entries)
    assert found.status == expected
    assert found.final == (expected in ("complete", "partial_success", "cancelled", "error"))
    assert (found.finished_at is not None) == found.final


def test_a_failed_source_is_not_forgotten_over_a_pause() -> None:
    begun: list[Entry] = [SUBMITTED, plan(1, finished=False), event("source_failed", "the file changed")]
    found = status(*begun, event("paused"), event("resumed"), went("a", "completed"))
    assert (found.status, found.detail) == ("error", "the file changed")


def test_a_job_whose_source_failed_may_still_be_cancelled() -> None:
    begun: list[Entry] = [SUBMITTED, plan(1, finished=False), event("source_failed", "x"), event("cancelled")]
    assert status(*begun, went("a", "cancelled")).status == "cancelled"


def test_what_the_source_held_beside_accounts_is_the_last_plans_word() -> None:
    plans = [plan(1, finished=False), plan(2)]
    counts: list[dict[str, int]] = [{"moved": 1}, {"moved": 3, "host_unreachable": 1}]
    told = [p.model_copy(update={"left_out": c}) for p, c in zip(plans, counts, strict=True)]
    assert status(SUBMITTED, *told).left_out == counts[-1]
    assert status(SUBMITTED, *told, event("noted", "a host was left out")).detail is None


def test_times_are_those_of_the_outcomes() -> None:
    found = status(SUBMITTED, plan(1, finished=False), went("a", "completed"), plan(1), event("ignored"))
    assert found.submitted_at == AT
    assert found.started_at == AT + timedelta(seconds=1)
    assert found.finished_at == AT + timedelta(seconds=3)


@pytest.mark.parametrize(
    "late",
    [
        event("paused"),
        event("cancelled"),
        event("rejected", "x"),
        event("source_failed", "x"),
        event("submitted"),
        plan(7, finished=False),
    ],
)
@pytest.mark.parametrize("last", ["completed", "failed"])
def test_what_has_ended_stays_as_it_is(late: Entry, last: OutcomeStatus) -> None:
    ended: list[Entry] = [SUBMITTED, plan(1), went("a", last)]
    assert status(*ended, late) == status(*ended)


def test_cancelled_stays_cancelled() -> None:
    ended: list[Entry] = [SUBMITTED, plan(1), event("cancelled"), went("a", "cancelled")]
    for late in (event("resumed"), event("submitted"), plan(3)):
        assert status(*ended, late) == status(*ended)


def test_a_rejected_id_may_be_started_after_all() -> None:
    found = status(event("rejected", "no storage"), SUBMITTED, plan(1), went("a", "completed"))
    assert (found.status, found.detail) == ("complete", None)


def test_retrying_counts_accounts_not_attempts() -> None:
    begun: list[Entry] = [
        SUBMITTED,
        plan(3),
        went("a", "retrying"),
        went("b", "retrying"),
        went("a", "retrying", 2),
    ]
    assert status(*begun).totals.retrying == 2
    assert status(*begun).outstanding == 3
    more: list[Entry] = [*begun, went("a", "failed", 3), went("c", "failed")]
    assert status(*more).totals.retrying == 1
    found = status(*more, went("b", "cancelled", 2))
    assert found.totals.retrying == 0
    assert found.totals.errors == {"network_error": 5}
    assert (found.totals.failed, found.totals.cancelled, found.outstanding) == (2, 1, 0)


def test_everything_is_counted_for_the_job_and_for_its_host() -> None:
    two = "https://two.test"
    book = booked(
        plan(4),
        went("a", "completed", records={POST: 3, LIKE: 1}, dropped={"uri": 2}, bytes=70),
        went("b", "completed", records={LIKE: 5}, dropped={"uri": 1, "invalid": 1}, bytes=30, host=two),
        went("c", "unavailable", host=two),
        went("d", "failed", host=None),
    )
    ledger, pages = book.ledger, {host: page.counts for host, page in book.hosts.items()}
    assert ledger.totals == Counts(
        completed=2,
        unavailable=1,
        failed=1,
        records=9,
        bytes=100,
        by_type={POST: 3, LIKE: 6},
        dropped={"uri": 3, "invalid": 1},
        unavailable_by={"RepoTakendown": 1},
        failed_by={"network_error": 1},
        errors={"data_unavailable": 1, "network_error": 1},
    )
    assert pages[two] == Counts(
        completed=1,
        unavailable=1,
        records=5,
        bytes=30,
        by_type={LIKE: 5},
        dropped={"uri": 1, "invalid": 1},
        unavailable_by={"RepoTakendown": 1},
        errors={"data_unavailable": 1},
    )
    assert pages[UNRESOLVED] == Counts(failed=1, failed_by={"network_error": 1}, errors={"network_error": 1})
    assert ledger.reasons == {"RepoTakendown": 1, "HostUnreachable": 1}


def test_who_was_skipped_is_counted_by_reason() -> None:
    found = status(
        SUBMITTED, plan(2), went("a", "skipped", reason="Existing"), went("b", "skipped", reason="Unchanged")
    )
    assert (found.status, found.totals.skipped) == ("complete", 2)
    assert found.reasons == {"Existing": 1, "Unchanged": 1}


def test_the_plan_says_how_many_and_how_many_twice() -> None:
    found = status(SUBMITTED, plan(5, finished=False, duplicates=1), plan(9, duplicates=2))
    assert (found.total, found.duplicates, found.plan_finished) == (9, 2, True)


# Any order


TERMINAL: list[OutcomeStatus] = ["completed", "skipped", "unavailable", "failed", "cancelled"]


@st.composite
def histories(draw: st.DrawFn) -> list[list[RepoOutcome]]:
    """Accounts, each with some failed attempts and one end."""
    found = []
    for number in range(draw(st.integers(0, 6))):
        retries = draw(st.integers(0, 3))
        host = draw(st.sampled_from(["https://one.test", "https://two.test"]))
        end = draw(st.sampled_from(TERMINAL))
        attempts = [went(f"{number}", "retrying", attempt + 1, host=host) for attempt in range(retries)]
        found.append([*attempts, went(f"{number}", end, retries + 1, host=host)])
    return found


def interleaved(accounts: list[list[RepoOutcome]], draw: st.DataObject) -> list[RepoOutcome]:
    """All outcomes in some order that keeps each account's own."""
    rest = [list(account) for account in accounts]
    found = []
    while rest := [account for account in rest if account]:
        found.append(rest[draw.draw(st.integers(0, len(rest) - 1))].pop(0))
    return found


@given(histories(), st.data())
def test_any_interleaving_gives_the_same_totals(
    accounts: list[list[RepoOutcome]], data: st.DataObject
) -> None:
    outcomes = interleaved(accounts, data)
    plans = sorted(data.draw(st.lists(st.integers(0, len(accounts)), max_size=3)))
    entries: list[Entry] = [*outcomes]
    for planned in [plan(n, finished=False) for n in plans] + [plan(len(accounts))]:
        earliest = next(
            (i + 1 for i in reversed(range(len(entries))) if isinstance(entries[i], PlanOutcome)), 0
        )
        entries.insert(data.draw(st.integers(earliest, len(entries))), planned)
    book = Book(Ledger(job_id="j"))
    ledger = book.ledger
    for number, entry in enumerate(entries):
        enter(book, entry, AT + timedelta(seconds=number))
        assert ledger.totals.retrying >= 0
        last = number == len(entries) - 1
        assert (ledger.finished_at is not None) == last or not accounts
    ends = [account[-1].status for account in accounts]
    totals = ledger.totals
    assert [getattr(totals, each) for each in TERMINAL] == [ends.count(each) for each in TERMINAL]
    assert totals.retrying == 0
    assert totals.records == 2 * ends.count("completed")
    in_order = booked(*[outcome for account in accounts for outcome in account], plan(len(accounts)))
    assert ledger.totals == in_order.ledger.totals
    assert book.hosts == in_order.hosts
    assert ledger.reasons == in_order.ledger.reasons
    assert status_of(ledger, AT).status == status_of(in_order.ledger, AT).status


def test_a_schedule_is_queued_and_tells_of_its_runs() -> None:
    story: list[Entry] = [event("submitted"), event("scheduled", "next run at three")]

    def told(*more: Entry) -> tuple[str, str | None]:
        story.extend(more)
        status = status_of(booked(*story).ledger, AT)
        return status.status, status.detail

    assert told() == ("queued", "next run at three")
    assert told(event("paused"), event("scheduled", "no run starts")) == ("paused", "no run starts")
    assert told(event("resumed"), event("scheduled", "next at four")) == ("queued", "next at four")
    assert told(event("scheduled", "no more"), event("cancelled"), plan(0)) == ("cancelled", "no more")
    assert told(event("scheduled", "next run at five")) == ("cancelled", "no more")
