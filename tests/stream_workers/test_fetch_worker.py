"""Given an account or host that misbehaves like this, this comes out: judged on one tour of a real worker."""

from __future__ import annotations

import base64
from collections import Counter
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from atp.tid import microseconds
from local.network.store import INVALID_KEY
from schemas.dids import DidTask
from stream_workers.fetch.selection import Selection
from tests.stream_workers import tour as sights
from tests.stream_workers.tour import NAMED, RETRIES, Tour, on_host
from tests.stream_workers.verdicts import completed, letters, published, tried

# What proves itself is published whole


@pytest.mark.parametrize(
    "name",
    [
        "good",
        "empty",
        "large",
        "moved",
        "missing_twice",
        "missing_four",
        "rotated",
        "invalid",
        "error_once",
        "cut_once",
    ],
)
def test_a_repository_is_published_as_it_is(tour: Tour, name: str) -> None:
    did = tour.account(name).did
    truth = tour.truth[did]
    assert published(tour, did, "faults") == sorted(truth.records, key=lambda record: record.uri)
    outcome = completed(tour, did, "faults")
    assert outcome.records == Counter(record.uri.split("/")[3] for record in truth.records)
    assert (outcome.strategy, outcome.proof, outcome.rev) == ("repo", "commit", tour.account(name).rev)
    assert outcome.fetched_at is not None
    sent = [
        r.bytes
        for r in tour.network.ledger.requests(did=did)
        if r.status == 200 and r.method.endswith("getRepo")
    ]
    assert outcome.bytes in sent


@pytest.mark.parametrize(
    "name",
    [
        "takendown",
        "suspended",
        "deactivated",
        "not_found",
        "tombstone",
        "moved_on",
        "flipped",
        "missing",
        "forged",
        "error",
    ],
)
def test_what_does_not_prove_itself_is_not_published_at_all(tour: Tour, name: str) -> None:
    did = tour.account(name).did
    assert ("faults", did) not in tour.records
    assert did not in tour.repos
    assert not any(o.records for o in tour.outcomes["faults", did])


def test_every_account_of_the_faults_ends_once(tour: Tour) -> None:
    for name, number in NAMED.items():
        job = "hasty" if name == "slow_once" else "faults"
        statuses = [o.status for o in tour.outcomes[job, tour.network.dids[number]]]
        assert statuses[:-1] == ["retrying"] * (len(statuses) - 1), name
        assert statuses[-1] in ("completed", "unavailable", "failed"), name


def test_the_state_of_a_repository_is_kept(tour: Tour) -> None:
    rotated = tour.repos[tour.account("rotated").did]
    truth = tour.truth[rotated.did]
    assert (rotated.strategy, rotated.proof, rotated.job_id) == ("repo", "commit", "faults")
    assert (rotated.rev, rotated.records) == (tour.account("rotated").rev, len(truth.records))
    assert rotated.selection == Selection(tour.specs["faults"].backfill).fingerprint
    assert rotated.destinations == ["parquet:out"]
    assert tour.repos[tour.account("good").did].commit == tour.good_head
    ended = {did for (_, did), outcomes in tour.outcomes.items() if outcomes[-1].status == "completed"}
    assert tour.repos.keys() == ended


def test_a_large_repository_goes_through_a_file_and_a_transaction_of_its_own(tour: Tour) -> None:
    did = tour.account("large").did
    assert completed(tour, did, "faults").bytes > 65536
    assert tour.spooled
    # Not by the markers around it: they follow the commit, and the next transaction may be quicker.
    large = [
        outcome
        for outcomes in tour.outcomes.values()
        for outcome in outcomes
        if outcome.status == "completed" and outcome.bytes > 65536
    ]
    assert tour.large_transactions == len(large) > 1


def test_two_jobs_on_one_account_both_have_it(tour: Tour) -> None:
    did = tour.account("good").did
    assert published(tour, did, "again") == published(tour, did, "faults")


@pytest.mark.parametrize("name", ["good", "large"])
def test_a_selection_takes_what_it_says_and_counts_the_rest(tour: Tour, name: str) -> None:
    did = tour.account(name).did
    begin, end = datetime(2024, 7, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
    wanted, dropped = [], Counter[str]()
    for record in sorted(tour.truth[did].records, key=lambda record: record.uri):
        _, _, _, collection, rkey = record.uri.split("/")
        if collection != "app.bsky.feed.like" and not collection.startswith("app.bsky.graph."):
            dropped["record_type"] += 1
        elif begin <= datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds(rkey)) < end:
            wanted.append(record)
        else:
            dropped["time_range"] += 1
    assert wanted
    assert dropped["time_range"]
    assert published(tour, did, "choosy") == wanted
    outcome = completed(tour, did, "choosy")
    assert outcome.dropped == dropped
    assert sum(outcome.records.values()) == len(wanted)


def test_one_invalid_record_is_a_dead_letter_and_the_rest_goes_on(tour: Tour) -> None:
    did = tour.account("invalid").did
    (invalid,) = tour.truth[did].invalid
    assert completed(tour, did, "faults").dropped == {"invalid": 1}
    (letter,) = [letter for letter in tour.letters if letter.did == did]
    assert (letter.stage, letter.error_type, letter.reason) == ("record", "validation_failed", "invalid")
    assert letter.uri == invalid.uri == f"at://{did}/{INVALID_KEY}"
    assert b"a float makes this record invalid" in base64.b64decode(letter.block or "")


# What an account's own state is


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("takendown", "RepoTakendown"),
        ("suspended", "RepoSuspended"),
        ("deactivated", "RepoDeactivated"),
        ("not_found", "RepoNotFound"),
        ("tombstone", "IdentityTombstoned"),
    ],
)
def test_a_terminal_state_is_believed_at_once_and_no_dead_letter(tour: Tour, name: str, reason: str) -> None:
    assert tried(tour, name) == [("unavailable", 1, "data_unavailable", reason)]
    assert letters(tour, name) == []
    assert tour.requests(name) == 1


def test_the_directory_is_asked_only_where_the_host_may_be_outdated(tour: Tour) -> None:
    asked = {name: tour.network.ledger.count(did=tour.account(name).did, method="did") for name in NAMED}
    assert {name for name, count in asked.items() if count} == {
        "deactivated", "not_found", "tombstone", "moved", "moved_on", "forged", "rotated",
    }  # fmt: skip
    assert max(asked.values()) == 1


def test_a_moved_account_is_followed_to_its_new_host(tour: Tour) -> None:
    account = tour.account("moved")
    assert tried(tour, "moved") == [("completed", 1, None, None)]
    assert tour.outcomes["faults", account.did][0].host == tour.hosts[2] != tour.hosts[account.host]
    ((key, task),) = tour.requeued["faults", account.did]
    assert (key, task.pds, task.moves, task.attempt) == (tour.hosts[2], tour.hosts[2], 1, 1)
    assert tour.requests("moved") == 2


def test_a_moved_account_is_followed_only_once(tour: Tour) -> None:
    assert tried(tour, "moved_on") == [("unavailable", 1, "data_unavailable", "RepoDeactivated")]
    assert ("faults", tour.account("moved_on").did) not in tour.requeued


# What does not prove itself


@pytest.mark.parametrize(("name", "reason"), [("flipped", "BlockMismatch"), ("forged", "SignatureInvalid")])
def test_a_false_repository_is_a_dead_letter_at_once(tour: Tour, name: str, reason: str) -> None:
    assert tried(tour, name) == [("failed", 1, "verification_failed", reason)]
    assert letters(tour, name) == [("fetch", "verification_failed", reason)]
    assert tour.requests(name) == 1


def test_a_missing_block_is_fetched_again_twice_before_it_costs_an_attempt(tour: Tour) -> None:
    assert tried(tour, "missing_twice") == [("completed", 1, None, None)]
    assert tour.requests("missing_twice") == 3
    assert tried(tour, "missing_four") == [
        ("retrying", 1, "verification_failed", "BlockMissing"),
        ("completed", 2, None, None),
    ]
    assert tour.requests("missing_four") == 5


def test_a_block_that_stays_missing_fails_in_the_end(tour: Tour) -> None:
    again = [("retrying", attempt, "verification_failed", "BlockMissing") for attempt in (1, 2)]
    assert tried(tour, "missing") == [*again, ("failed", 3, "verification_failed", "BlockMissing")]
    assert tour.requests("missing") == 3 * (RETRIES + 1)
    (letter,) = [x for x in tour.letters if x.did == tour.account("missing").did]
    assert (letter.attempts, letter.host) == (3, tour.hosts[tour.account("missing").host])
    task = DidTask.decode((letter.payload or "").encode())
    assert (task.did, task.job_id, task.attempt) == (letter.did, "faults", 3)
    assert task.first_tried_at is not None


def test_a_rotated_key_is_learnt_from_the_directory(tour: Tour) -> None:
    assert tried(tour, "rotated") == [("completed", 1, None, None)]
    assert tour.requests("rotated") == 1


# What passes by itself


def test_an_error_of_the_host_costs_an_attempt_and_no_more(tour: Tour) -> None:
    assert tried(tour, "error_once") == [
        ("retrying", 1, "fetch_failed", "UnexpectedResponse"),
        ("completed", 2, None, None),
    ]
    assert tour.requests("error_once") == 2
    ((key, task),) = tour.requeued["faults", tour.account("error_once").did]
    assert (key, task.attempt) == (task.pds, 2)
    assert task.not_before is not None
    assert task.first_tried_at is not None
    assert task.not_before > task.first_tried_at


def test_a_connection_cut_short_costs_an_attempt_and_no_more(tour: Tour) -> None:
    assert tried(tour, "cut_once") == [
        ("retrying", 1, "network_error", "HostUnreachable"),
        ("completed", 2, None, None),
    ]
    assert letters(tour, "cut_once") == []


def test_a_silent_host_costs_an_attempt_and_no_more(tour: Tour) -> None:
    assert tried(tour, "slow_once", "hasty") == [
        ("retrying", 1, "timeout_error", "HostTimeout"),
        ("completed", 2, None, None),
    ]


def test_a_host_that_goes_on_failing_is_given_up(tour: Tour) -> None:
    again = [("retrying", attempt, "fetch_failed", "UnexpectedResponse") for attempt in (1, 2)]
    assert tried(tour, "error") == [*again, ("failed", 3, "fetch_failed", "UnexpectedResponse")]
    assert letters(tour, "error") == [("fetch", "fetch_failed", "UnexpectedResponse")]
    assert tour.requests("error") == RETRIES + 1


def test_a_host_that_never_answers_is_given_up_with_one_dead_letter(tour: Tour) -> None:
    for turn in range(sights.DOWN_ACCOUNTS):
        did = tour.network.dids[on_host(sights.DOWN, turn)]
        found = [(o.status, o.attempt, o.error_type, o.reason) for o in tour.outcomes["down", did]]
        assert found == [("failed", 1, "network_error", "HostGivenUp")]
    status, number = tour.statuses["down"], sights.DOWN_ACCOUNTS
    assert (status.status, status.totals.failed, status.totals.retrying) == ("error", number, 0)
    assert status.totals.errors == {"network_error": number}
    assert status.reasons == {"HostGivenUp": number}
    (letter,) = [letter for letter in tour.letters if letter.host == tour.hosts[sights.DOWN]]
    assert (letter.stage, letter.reason, letter.job_id, letter.did) == ("fetch", "HostGivenUp", "down", None)
    payload = orjson.loads(letter.payload or "")
    assert payload["accounts"] == number
    assert datetime.fromisoformat(payload["failing_since"]) <= letter.at
