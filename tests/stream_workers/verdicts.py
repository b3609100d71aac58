"""How the tests read a tour: one account's outcomes, its dead letters, its rows in the topic."""

from __future__ import annotations

from local.network.truth import RecordTruth
from schemas.outcomes import RepoOutcome
from schemas.records import RecordEvent, SyncEvent
from stream_workers.fetch.selection import Selection
from tests.stream_workers.tour import Tour

Tried = list[tuple[str, int, str | None, str | None]]
"""Outcomes of an account in their order: status, attempt, error type, reason."""


def tried(tour: Tour, name: str, job: str = "faults") -> Tried:
    outcomes = tour.outcomes[job, tour.account(name).did]
    return [(o.status, o.attempt, o.error_type, o.reason) for o in outcomes]


def letters(tour: Tour, name: str) -> list[tuple[str, str, str]]:
    did = tour.account(name).did
    return [(x.stage, x.error_type, x.reason) for x in tour.letters if x.did == did and x.job_id == "faults"]


def published(tour: Tour, did: str, job: str) -> list[RecordTruth]:
    """What the topic holds of a repository, held against its own form first: in order, the marker last, and
    contiguous unless it is so large that others are published beside it."""
    found = tour.records[job, did]
    offsets = [message.offset for message, _ in found]
    assert len({message.partition for message, _ in found}) == 1
    assert offsets == sorted(offsets)
    if did != tour.account("large").did:
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
    marker = found[-1][1]
    records = [event for _, event in found[:-1]]
    assert isinstance(marker, SyncEvent)
    account = tour.network.account(tour.truth[did].number)
    fingerprint = Selection(tour.specs[job].backfill).fingerprint
    said = {"rev": account.rev, "records": len(records), "selection": fingerprint}
    assert marker.sync.model_dump(exclude_none=True) == said
    rows = []
    for event in records:
        assert isinstance(event, RecordEvent)
        assert (event.did, event.proof, event.commit.rev) == (did, "commit", account.rev)
        uri = f"at://{did}/{event.commit.collection}/{event.commit.rkey}"
        rows.append(RecordTruth(uri, event.commit.cid, event.commit.record))
    return rows


def completed(tour: Tour, did: str, job: str) -> RepoOutcome:
    outcome = tour.outcomes[job, did][-1]
    assert (outcome.status, outcome.error_type, outcome.reason) == ("completed", None, None)
    return outcome
