"""A job's books stay small whatever anybody writes into `outcomes`, and their sums stay exact."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from messaging.clients import MESSAGE_BYTES
from schemas.job_status import OTHERS, JobHost, Ledger
from schemas.outcomes import PlanOutcome, RepoOutcome, decode_outcome
from stream_workers.tracker import book as books
from stream_workers.tracker.book import Book, books_of, enter
from stream_workers.tracker.counting import LONGEST_NAME, MOST_REASONS, MOST_TYPES, MOST_TYPES_OF_HOST
from stream_workers.tracker.status import status_of
from stream_workers.tracker.telling import LONGEST_DETAIL, MOST_ENTRIES
from tests.stream_workers.test_book import AT, SUBMITTED, Entry, booked, event, plan, went
from tests.stream_workers.test_book_replays import again, replayed

FAR_BELOW = MESSAGE_BYTES // 8
LONG = "x" * (LONGEST_NAME - 10)


def entered(*entries: Entry) -> Book:
    book = Book(Ledger(job_id="j"))
    for entry in entries:
        enter(book, entry, AT)
    return book


def sizes(book: Book) -> list[int]:
    """Bytes of every message that the tracker writes of it."""
    pages = [page.encode() for _, page in book.changes() if page is not None]
    return [len(message) for message in (book.ledger.encode(), status_of(book.ledger, AT).encode(), *pages)]


def test_three_thousand_hosts_and_twenty_thousand_collections_fit_into_messages() -> None:
    hosts = [f"https://{number}.{'h' * 200}.example" for number in range(3000)]
    outcomes: list[Entry] = [
        PlanOutcome(job_id="j", planned=3000, hosts=dict.fromkeys(hosts, 1), finished=True)
    ]
    for number, host in enumerate(hosts):
        names = {f"{LONG}{number * 7 + n}": 2 for n in range(7)}
        outcomes.append(went(f"{number}", "completed", host=host, records=names))
    hostile = {f"{LONG}-{number}": 3 for number in range(20_000)}
    outcomes.append(went("hostile", "completed", host=hosts[0], records=hostile))
    book = entered(SUBMITTED, *outcomes)
    assert max(sizes(book)) < FAR_BELOW
    totals, page = book.ledger.totals, book.hosts[hosts[0]].counts
    assert len(book.hosts) == 3000
    assert (len(totals.by_type), len(page.by_type)) == (MOST_TYPES + 1, MOST_TYPES_OF_HOST + 1)
    assert totals.records == sum(totals.by_type.values()) == 3000 * 14 + 60_000
    assert page.records == sum(page.by_type.values()) == 14 + 60_000
    assert sum(p.counts.records for p in book.hosts.values()) == totals.records
    assert sum(p.planned for p in book.hosts.values()) == 3000


def test_every_name_and_text_of_a_stranger_is_bounded() -> None:
    """Reasons, hosts, details, names of jobs: each as many and as long as a message of `outcomes` allows."""
    long = "y" * 100_000
    left_out = {f"{LONG}{number}": 1 for number in range(3 * MOST_REASONS)}
    entries: list[Entry] = [
        SUBMITTED.model_copy(update={"name": long}),
        PlanOutcome(job_id="j", planned=999, left_out=left_out, resolved=left_out),
        event("source_failed", long),
    ]
    for number in range(3 * MOST_REASONS):
        figures: dict[str, Any] = {"reason": f"{LONG}{number}", "dropped": {f"{LONG}{number}": 1}}
        entries.append(went(f"{number}", "unavailable", **figures))
        entries.append(went(long, "failed", detail=long, host=f"https://{long}", **figures))
        entries.append(event("ignored", long))
    entries.append(went("z", "failed", reason=long))
    book = entered(*entries)
    assert max(sizes(book)) < FAR_BELOW
    ledger = book.ledger
    assert len(ledger.history) == MOST_ENTRIES
    samples = [sample for summary in ledger.errors.values() for sample in summary.samples]
    assert all(len(sample.detail or "") <= LONGEST_DETAIL for sample in samples)
    assert sum(ledger.reasons.values()) == 6 * MOST_REASONS + 1
    for counts in (ledger.totals.unavailable_by, ledger.totals.dropped, ledger.left_out, ledger.resolved):
        assert len(counts) == MOST_REASONS + 1
    assert sum(ledger.totals.unavailable_by.values()) == 3 * MOST_REASONS
    assert book.hosts[OTHERS].counts.failed == 3 * MOST_REASONS


def test_hosts_beyond_the_first_so_many_share_a_page_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "MOST_HOSTS", 2)
    hosts = ["https://one.test", "https://two.test", "https://three.test", "https://four.test"]
    failed = [went(host, "failed", host=host) for host in hosts]
    book = entered(plan(4), *failed)
    assert book.hosts.keys() == {*hosts[:2], OTHERS}
    assert book.hosts[OTHERS].counts.failed == 2
    enter(book, replayed(4), AT)
    for one in failed:
        enter(book, again(one, "completed", host=one.host), AT)
    for page in book.hosts.values():
        assert (page.counts.failed, page.counts.failed_by) == (0, {})
    assert book.hosts[OTHERS].counts.completed == 2


def test_reasons_that_count_together_are_taken_back_together() -> None:
    failed = [went(f"{n}", "failed", reason=f"Reason{n}") for n in range(MOST_REASONS + 5)]
    again_ = [again(one, "completed") for one in failed]
    book = booked(plan(len(failed)), *failed, replayed(len(failed)), *again_)
    assert (book.ledger.reasons, book.ledger.totals.failed_by, book.ledger.replaying) == ({}, {}, 0)


@pytest.mark.parametrize("number", [-1, 2**53 + 1, 10**400])
@pytest.mark.parametrize("field", ["records", "dropped", "bytes", "attempt"])
def test_a_number_that_would_spoil_the_ledger_is_no_outcome(field: str, number: int) -> None:
    value: Any = {"app.bsky.feed.post": number} if field in ("records", "dropped") else number
    forged = RepoOutcome.model_construct(
        kind="repo", job_id="j", did="d", status="completed", **{field: value}
    )
    with pytest.raises(ValidationError):
        decode_outcome(forged.model_dump_json(exclude_none=True, warnings=False).encode())


def test_the_largest_numbers_are_written_and_read_back() -> None:
    most = 2**53
    huge = went("a", "completed", records={"app.bsky.feed.post": most, "b": most}, bytes=most)
    told = decode_outcome(huge.encode())
    book = booked(*[told] * 300)
    assert book.ledger.totals.records == 600 * most


def test_pages_of_a_job_without_a_ledger_are_passed_over() -> None:
    kept = books_of([Ledger(job_id="a")], [JobHost(job_id="a", host="h"), JobHost(job_id="b", host="h")])
    assert {job: list(book.hosts) for job, book in kept.items()} == {"a": ["h"]}


def test_a_ledger_from_before_hosts_had_messages_of_their_own_is_read() -> None:
    old = b'{"job_id":"j","planned":3,"hosts":{"https://one.test":{"completed":2}}}'
    assert Ledger.decode(old) == Ledger(job_id="j", planned=3)
