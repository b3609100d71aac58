"""Which accounts a job with `skip_existing` fetches, skips, or asks for what is new."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from messaging.clients import producer
from producers.chunk import Chunk
from producers.existing import decide, spare
from schemas.backfill import Backfill
from schemas.dids import DidTask
from schemas.outcomes import RepoOutcome
from schemas.plans import PlanCheckpoint
from schemas.repos import RepoState
from tests.producers.deployment import Book, Deployment, did

OLD, REV, NEW = "3l2zpzt4skc2a", "3l3zpzt4skc2a", "3l4zpzt4skc2a"


def state(account: str = did(1), **fields: Any) -> RepoState:
    plain = {
        "did": account,
        "rev": REV,
        "commit": "bafycommit",
        "strategy": "repo",
        "proof": "commit",
        "selection": "",
        "narrowed": False,
        "destinations": ["parquet:/out"],
        "records": 5,
        "job_id": "before",
        "fetched_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return RepoState.model_validate(plain | fields)


def job(skip: bool | str, **fields: Any) -> Backfill:
    plain = {"source": {"type": "inline", "dids": [did(1)]}, "storage": {"type": "parquet", "path": "/out"}}
    return Backfill.model_validate(plain | {"skip_existing": skip} | fields)


@pytest.mark.parametrize(
    ("skip", "recorded", "rev", "decision"),
    [
        (False, state(), REV, "fetch"),
        (True, None, None, "fetch"),
        (True, state(), None, "skip"),
        (True, state(), REV, "skip"),
        (True, state(), OLD, "skip"),
        (True, state(), NEW, "fetch"),
        (True, state(narrowed=True), REV, "fetch"),
        (True, state(record_types=["post"]), REV, "fetch"),
        (True, state(destinations=["parquet:/elsewhere"]), REV, "fetch"),
        ("since", None, None, "fetch"),
        ("since", state(), None, "since"),
        ("since", state(), REV, "skip"),
        ("since", state(), NEW, "since"),
        ("since", state(strategy="since"), NEW, "since"),
        ("since", state(strategy="list", proof="cid"), NEW, "fetch"),
        ("since", state(rev=""), NEW, "fetch"),
    ],
)
def test_what_becomes_of_an_account(
    skip: bool | str, recorded: RepoState | None, rev: str | None, decision: str
) -> None:
    assert decide(job(skip), recorded, rev) == decision


def task(number: int, **fields: Any) -> DidTask:
    return DidTask(
        job_id="j", did=did(number), handle="a.test", pds="https://one.test", signing_key="k", **fields
    )


def test_a_chunk_is_spared_what_is_there() -> None:
    states = {did(1): state(did(1)), did(2): state(did(2))}
    gone = RepoOutcome(job_id="j", did=did(9), status="unavailable")
    tasks = [task(1, rev=REV), task(2, rev=NEW), task(3, rev=NEW)]
    chunk = Chunk(tasks, [gone], [], PlanCheckpoint(job_id="j", planned=4))
    assert spare(chunk, job(False), states) == chunk
    spared = spare(chunk, job("since"), states)
    assert spared.tasks == [
        task(2, rev=NEW).model_copy(update={"since": REV, "since_commit": "bafycommit"}),
        task(3, rev=NEW),
    ]
    skipped = spared.outcomes[1]
    assert spared.outcomes == [gone, skipped]
    assert (skipped.did, skipped.handle, skipped.host) == (did(1), "a.test", "https://one.test")
    assert (skipped.status, skipped.reason, skipped.rev) == ("skipped", "Existing", REV)
    assert (skipped.strategy, skipped.proof, skipped.fetched_at) == ("repo", "commit", state().fetched_at)
    assert spared.checkpoint == chunk.checkpoint


def record(deployment: Deployment, *states: RepoState) -> None:
    client = producer(deployment.settings.kafka)
    for one in states:
        client.produce(deployment.names.repos, one.encode(), one.did.encode())
    assert client.flush(30) == 0


def test_the_planner_reads_what_is_recorded_before_it_plans(deployment: Deployment, book: Book) -> None:
    dids = [did(n) for n in range(1, 7)]
    record(deployment, *(state(d) for d in dids[:4]), state(dids[3], narrowed=True))
    storage = {"storage": {"type": "parquet", "path": "/out"}}
    deployment.start("all", dids, **storage)
    deployment.start("skips", dids, skip_existing=True, **storage)
    deployment.start("since", dids, skip_existing="since", **storage)
    deployment.plan(book)

    def planned(job_id: str) -> dict[str, str | None]:
        return {t.did: t.since for t in deployment.tasks(job_id)}

    def skipped(job_id: str) -> set[str]:
        found = [o for o in deployment.outcomes() if isinstance(o, RepoOutcome) and o.job_id == job_id]
        assert {(o.status, o.reason) for o in found} <= {("skipped", "Existing")}
        return {o.did for o in found}

    assert planned("all") == dict.fromkeys(dids)
    assert (planned("skips"), skipped("skips")) == (dict.fromkeys(dids[3:]), set(dids[:3]))
    assert planned("since") == dict.fromkeys(dids[:3], REV) | dict.fromkeys(dids[3:])
    assert deployment.planned("skips").planned == 6

    # A later planner goes on with the file, and with what came meanwhile.
    record(deployment, state(dids[4]))
    deployment.start("later", dids, skip_existing=True, **storage)
    deployment.plan(book)
    assert skipped("later") == {*dids[:3], dids[4]}
