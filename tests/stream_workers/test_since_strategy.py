"""Tasks that know a rev: what is new is enough, and whatever is in doubt comes whole."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from local.network.faults import Corrupted, Fault, Moved, RotatedKey, ServerError, Unavailable
from schemas.dids import DidTask
from stream_workers.fetch.ending import Failed, Fetched, Requeued, Retry, Unchanged
from tests.stream_workers.place import GET_REPO, LIST, POST, PROFILE, Place

LIKE = "app.bsky.feed.like"


async def known(place: Place, number: int = 0) -> DidTask:
    """A task that knows the present rev."""
    ending = await place.go(place.task(number), "repo")
    assert isinstance(ending, Fetched)
    assert ending.since is None
    return place.task(number, since=ending.rev, since_commit=ending.commit)


def keys_of(ending: Any) -> list[str]:
    assert isinstance(ending, Fetched), ending
    assert ending.messages is not None
    commits = [orjson.loads(message)["commit"] for message in ending.messages]
    assert all((c["rev"], c["operation"]) == (ending.rev, "create") for c in commits)
    return [f"{c['collection']}/{c['rkey']}" for c in commits]


async def test_an_unchanged_repository_costs_one_small_answer(place: Place) -> None:
    task = await known(place)
    before = place.network.ledger.bytes_sent("pds0")
    ending = await place.go(task, "repo")
    assert isinstance(ending, Unchanged)
    assert ending.rev == task.since
    assert ending.seconds > 0
    assert place.network.ledger.bytes_sent("pds0") - before == 59


async def test_only_what_is_new_comes(place: Place) -> None:
    task = await known(place)
    written = {key: place.network.write(0, key, {"text": key}) for key in (f"{LIKE}/a", f"{POST}/b")}
    place.network.write(0, f"{PROFILE}/self", {"displayName": "after"})
    rev = place.network.write(0, f"{LIKE}/a", None)
    ending = await place.go(task, "repo")
    assert keys_of(ending) == [f"{PROFILE}/self", f"{POST}/b"]
    assert isinstance(ending, Fetched)
    assert (ending.strategy, ending.proof, ending.since, ending.rev) == ("since", "commit", task.since, rev)
    assert ending.size < 20_000
    again = place.task(0, since=ending.rev, since_commit=ending.commit)
    assert isinstance(await place.go(again, "repo"), Unchanged)
    halfway = task.model_copy(update={"since": written[f"{POST}/b"], "since_commit": "bafyunknown"})
    assert keys_of(await place.go(halfway, "repo")) == [f"{PROFILE}/self"]


async def test_what_is_new_is_selected_like_all_else(place: Place) -> None:
    task = await known(place)
    for key in (f"{LIKE}/a", f"{POST}/b"):
        place.network.write(0, key, {"text": key, "createdAt": "2025-05-05T00:00:00Z"})
    assert keys_of(await place.go(task, "repo", record_types=["post"])) == [f"{POST}/b"]
    ending = await place.go(task, "repo", time_range={"end_date": "2024-12-31"})
    assert keys_of(ending) == []
    assert isinstance(ending, Fetched)
    assert ending.events.dropped == {"time_range": 2}


@pytest.mark.parametrize("strategy", ["repo", "list"])
async def test_what_is_not_explained_comes_whole(place: Place, strategy: str) -> None:
    """The commit is not the one that was recorded: the host went back, or the record is wrong."""
    task = (await known(place)).model_copy(update={"since_commit": "bafyanother"})
    ending = await place.go(task, strategy)
    assert isinstance(ending, Fetched)
    assert (ending.strategy, ending.since) == (strategy, None)
    assert len(keys_of(ending)) == len(next(place.network.truth()).records)
    assert (place.asked(LIST) > 0) is (strategy == "list")


@pytest.mark.parametrize("status", [400, 404, 501, 503])
async def test_a_host_that_knows_no_differences(place: Place, status: int) -> None:
    task = await known(place)
    await place.network.inject(ServerError(account=0, method="getRepo", status=status, first=1))
    ending = await place.go(task, "repo")
    if status != 503:
        assert isinstance(ending, Fetched)
        assert (ending.strategy, ending.since, place.asked(GET_REPO)) == ("repo", None, 3)
    else:
        assert isinstance(ending, Retry)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Unavailable(0, "takendown"), "RepoTakendown"),
        (Corrupted(0, "wrong_signature"), "SignatureInvalid"),
    ],
)
async def test_an_account_that_is_in_no_state_to_be_fetched(
    place: Place,
    fault: Fault,
    reason: str,
) -> None:
    task = (await known(place)).model_copy(update={"since_commit": "bafyanother"})
    await place.network.inject(fault)
    ending = await place.go(task, "repo")
    assert isinstance(ending, Failed)
    assert ending.reason == reason


async def test_an_account_that_moved_or_changed_its_key(place: Place) -> None:
    task = await known(place)
    await place.network.inject(RotatedKey(0, stale_answers=0))
    place.network.write(0, f"{POST}/b", {"text": "signed by another key"})
    assert keys_of(await place.go(task, "repo")) == [f"{POST}/b"]
    await place.network.inject(Moved(0, to_host=1))
    ending = await place.go(task, "repo")
    assert isinstance(ending, Requeued)
    assert (ending.task.since, ending.task.since_commit) == (task.since, task.since_commit)
