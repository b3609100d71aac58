"""The book of all jobs' windows: what is told when, and that nothing it is given can stop it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from schemas.outcomes import JobEvent, PlanOutcome, RepoOutcome
from schemas.rates import JobRates
from stream_workers.rates.book import BEAT_SECONDS, MOST_JOBS, RateBook

NOW = 1_800_000_000.0


def repo(job: str = "job") -> bytes:
    return RepoOutcome(job_id=job, did="did:plc:a", host="https://a.test", status="completed").encode()


def told(book: RateBook, now: float) -> dict[str, list[int]]:
    """Who is told of, and the repositories of each window."""
    return {rates.job_id: [window.repositories for window in rates.windows] for rates in book.due(now)}


def test_a_job_is_told_while_it_moves_then_now_and_then_and_at_last_with_zeros() -> None:
    book = RateBook()
    book.enter(0, "job", repo(), NOW, NOW)
    assert told(book, NOW) == {"job": [1, 1, 1]}
    assert told(book, NOW + 2) == {"job": [1, 1, 1]}  # its rates fall, though nothing comes
    assert told(book, NOW + 70) == {"job": [0, 1, 1]}
    assert told(book, NOW + 72) == {}
    assert told(book, NOW + 70 + BEAT_SECONDS) == {"job": [0, 1, 1]}
    book.enter(0, "job", repo(), NOW + 92, NOW + 92)
    assert told(book, NOW + 92) == {"job": [1, 2, 2]}
    assert told(book, NOW + 4000) == {"job": [0, 0, 0]}
    assert told(book, NOW + 4002) == {}
    assert len(book) == 0


def test_a_job_that_begins_is_told_before_its_first_account_has_ended() -> None:
    book = RateBook()
    event = JobEvent(job_id="new", event="submitted", at=datetime.fromtimestamp(NOW, UTC))
    book.enter(0, "new", event.encode(), NOW, NOW)
    book.enter(0, "new", PlanOutcome(job_id="new", planned=3).encode(), NOW, NOW)
    assert told(book, NOW) == {"new": [0, 0, 0]}
    assert told(book, NOW + 2) == {}


def test_what_is_read_again_after_more_than_an_hour_changes_nothing() -> None:
    book = RateBook()
    assert book.enter(0, "job", repo(), NOW - 3600, NOW)
    assert (told(book, NOW), book.late, book.malformed) == ({}, 1, 0)


@given(st.binary(max_size=200) | st.none())
def test_no_message_can_stop_it(value: bytes | None) -> None:
    book = RateBook()
    assert not book.enter(0, "job", value, NOW, NOW)
    assert (book.malformed, len(book)) == (1, 0)


figures = st.integers() | st.sampled_from([-1, 2**53, 2**53 + 1, 10**400])
lengths = st.floats() | st.sampled_from([float("nan"), float("inf"), 1e308, 5e-324])


@given(figures, figures, lengths, st.text() | st.just("x" * 10**6))
def test_no_figures_and_names_can_stop_it(records: int, size: int, took: float, name: str) -> None:
    """Whatever a schema lets pass, or json writes: what is counted can be published."""
    one = {"kind": "repo", "job_id": "job", "did": "did:plc:a", "host": name, "status": "completed"}
    value = json.dumps(one | {"records": {name: records}, "bytes": size, "seconds": took}).encode()
    book = RateBook()
    for _ in range(3):
        book.enter(0, "job", value, NOW, NOW)
    assert book.enter(0, "job", repo(), NOW, NOW)
    (rates,) = book.due(NOW)
    assert len(rates.encode()) < 100_000
    assert JobRates.decode(rates.encode()).windows[0].repositories in (1, 4)


def test_a_job_id_that_is_no_name_is_skipped() -> None:
    book = RateBook()
    assert not book.enter(0, "x" * 10_000, repo("x" * 10_000), NOW, NOW)
    assert (book.malformed, len(book)) == (1, 0)


def test_an_outcome_under_another_jobs_key_is_no_outcome_of_either() -> None:
    book = RateBook()
    assert not book.enter(0, "other", repo("job"), NOW, NOW)
    assert (book.malformed, len(book)) == (1, 0)


def test_there_are_never_more_jobs_than_the_bound_and_the_quietest_goes() -> None:
    book = RateBook()
    for number in range(MOST_JOBS + 5):
        book.enter(0, f"job-{number}", repo(f"job-{number}"), NOW + number, NOW + number)
    assert len(book) == MOST_JOBS
    now = NOW + MOST_JOBS + 5
    assert book.of("job-4", now) is None
    assert book.of("job-5", now) is not None


def test_jobs_of_partitions_that_another_process_has_now_are_forgotten() -> None:
    book = RateBook()
    for partition, job in enumerate(("a", "b", "c")):
        book.enter(partition, job, repo(job), NOW, NOW)
    book.keep({0, 2})
    assert [rates.job_id for rates in book.all(NOW)] == ["a", "c"]


def test_figures_survive_their_encoding() -> None:
    book = RateBook()
    book.enter(0, "job", repo(), NOW, NOW)
    (rates,) = book.due(NOW)
    assert JobRates.decode(rates.encode()) == rates
