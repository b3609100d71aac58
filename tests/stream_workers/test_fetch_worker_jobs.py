"""Limits of hosts, paused and cancelled jobs, what is no task, and the books: judged on the same tour."""

from __future__ import annotations

from collections import Counter

import pytest

from schemas.dids import DidTask
from tests.stream_workers import tour as sights
from tests.stream_workers.tour import JUNK, Tour, on_host
from tests.stream_workers.verdicts import completed, published

# Limits of hosts


@pytest.mark.parametrize("host", [sights.LIMITED, sights.UNTOLD])
def test_no_account_is_lost_to_a_rate_limit(tour: Tour, host: int) -> None:
    for turn in range(sights.PER_HOST):
        did = tour.network.dids[on_host(host, turn)]
        assert completed(tour, did, "limited").attempt == 1
        assert published(tour, did, "limited") == sorted(tour.truth[did].records, key=lambda r: r.uri)
    assert tour.statuses["limited"].status == "complete"


def test_an_advertised_limit_is_never_run_into(tour: Tour) -> None:
    assert tour.network.ledger.count(host=f"pds{sights.LIMITED}", status=429) == 0
    assert tour.network.ledger.count(host=f"pds{sights.LIMITED}") == sights.PER_HOST


def test_a_limit_nobody_tells_of_is_learnt(tour: Tour) -> None:
    """From 20 requests a second down to what the host takes, which is 5: not by trying all in vain."""
    refused = tour.network.ledger.count(host=f"pds{sights.UNTOLD}", status=429)
    assert 0 < refused < sights.PER_HOST


def test_a_job_keeps_to_its_own_pace_and_width(tour: Tour) -> None:
    ledger = tour.network.ledger
    for host in range(sights.HOSTS):
        assert ledger.most_in_flight(f"pds{host}") <= 8
    for host in (sights.LIMITED, sights.UNTOLD):
        assert ledger.busiest(f"pds{host}", 1.0) <= 2 * 20


# Paused and cancelled jobs


def test_a_paused_job_is_parked_without_spending_anything(tour: Tour) -> None:
    assert tour.paused == {"parked": len(sights.PAUSED), "outcomes": 0, "requests": 0}
    for number in sights.PAUSED:
        for key, task in tour.requeued["paused", tour.network.dids[number]]:
            assert (key, task.attempt, task.moves) == (task.pds, 1, 0)


def test_a_resumed_job_goes_on_and_ends(tour: Tour) -> None:
    for number in sights.PAUSED:
        did = tour.network.dids[number]
        assert completed(tour, did, "paused").attempt == 1
        assert published(tour, did, "paused") == sorted(tour.truth[did].records, key=lambda r: r.uri)


def test_a_job_cancelled_while_it_was_paused_is_drained(tour: Tour) -> None:
    for number in sights.DROPPED:
        did = tour.network.dids[number]
        assert [o.status for o in tour.outcomes["dropped", did]] == ["cancelled"]
        assert tour.network.ledger.count(did=did) == 0


def test_a_job_cancelled_midway_keeps_what_it_has_and_fetches_no_more(tour: Tour) -> None:
    statuses = Counter(
        outcome.status
        for number in sights.CANCELLED
        for outcome in tour.outcomes["cancelled", tour.network.dids[number]]
    )
    assert statuses.keys() == {"completed", "cancelled"}
    assert statuses.total() == len(sights.CANCELLED)
    for number in sights.CANCELLED:
        did = tour.network.dids[number]
        done = tour.outcomes["cancelled", did][0].status == "completed"
        assert tour.network.ledger.count(did=did) == done


# What is no task


def test_what_is_no_task_is_a_dead_letter_and_the_others_go_on(tour: Tour) -> None:
    found = [letter for letter in tour.letters if letter.host == "https://junk.test"]
    assert [letter.reason for letter in found] == ["ValidationError"] * len(JUNK)
    assert {(letter.stage, letter.error_type) for letter in found} == {("fetch", "processing_failed")}
    assert [(letter.payload or "")[:1] for letter in found] == ["{", "", "\x00", "{", "\ufffd"]


def test_a_task_of_no_job_is_a_dead_letter(tour: Tour) -> None:
    (letter,) = [letter for letter in tour.letters if letter.job_id == "nobody"]
    assert (letter.reason, letter.did) == ("UnknownJob", tour.account("good").did)
    assert DidTask.decode((letter.payload or "").encode()).job_id == "nobody"
    assert ("nobody", tour.account("good").did) not in tour.outcomes


def test_what_is_no_outcome_is_a_dead_letter_of_the_tracker(tour: Tour) -> None:
    found = [letter for letter in tour.letters if letter.stage == "track"]
    assert [letter.reason for letter in found] == ["OutcomeInvalid"] * 2
    assert {letter.job_id for letter in found} == {"faults"}
    assert "'again'" in found[1].detail
    assert tour.statuses["again"].status == "complete"  # the event under a foreign key did not cancel it


def test_there_are_no_other_dead_letters(tour: Tour) -> None:
    fetch = [letter for letter in tour.letters if letter.stage == "fetch" and letter.did]
    failed = {
        (job, did)
        for (job, did), outcomes in tour.outcomes.items()
        for outcome in outcomes
        if outcome.status == "failed" and outcome.reason != "HostGivenUp"
    }
    assert {(letter.job_id, letter.did) for letter in fetch} == failed | {
        ("nobody", tour.account("good").did)
    }
    assert len(tour.letters) == len(failed) + 1 + 1 + 1 + len(JUNK) + 2


def test_a_private_address_is_refused_without_a_request(tour: Tour) -> None:
    outcomes, found, requests = tour.guarded
    assert [(o.status, o.attempt, o.error_type, o.reason) for o in outcomes] == [
        ("failed", 1, "scope_violation", "AddressForbidden")
    ]
    assert [(x.error_type, x.reason) for x in found] == [("scope_violation", "AddressForbidden")]
    assert requests == 0


# The books


def test_the_status_of_every_job_adds_up(tour: Tour) -> None:
    for job, status in tour.statuses.items():
        outcomes = [o for (name, _), found in tour.outcomes.items() if name == job for o in found]
        counted = Counter(o.status for o in outcomes)
        totals = status.totals
        for kind in ("completed", "unavailable", "failed", "skipped"):
            assert getattr(totals, kind) == counted[kind], (job, kind)
        assert totals.retrying == 0
        assert totals.records == sum(
            len(found) - 1 for (name, _), found in tour.records.items() if name == job
        )
        assert totals.bytes == sum(o.bytes for o in outcomes)
        assert totals.errors == Counter(o.error_type for o in outcomes if o.error_type)
        assert status.outstanding == 0
        assert all((o.due_at is not None) == (o.status == "retrying") for o in outcomes)
        pages = tour.hosts_of[job].values()
        for kind in ("completed", "unavailable", "failed", "records", "bytes"):
            assert sum(getattr(page.counts, kind) for page in pages) == getattr(totals, kind)


def test_a_job_with_failures_is_a_partial_success(tour: Tour) -> None:
    status = tour.statuses["faults"]
    assert status.status == "partial_success"
    assert (status.totals.failed, status.totals.unavailable, status.totals.completed) == (4, 6, 10)
    assert status.reasons == Counter(
        BlockMismatch=1,
        BlockMissing=1,
        SignatureInvalid=1,
        UnexpectedResponse=1,
        RepoTakendown=1,
        RepoSuspended=1,
        RepoDeactivated=2,
        RepoNotFound=1,
        IdentityTombstoned=1,
    )


def test_at_the_end_nothing_is_left_to_do(tour: Tour) -> None:
    assert tour.exit_codes == [0, 0]
    assert tour.committed == tour.ends
