"""A chunk's messages: hosts in turn, and for each account without a task an outcome that says why."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.identity import Identity
from messaging.clients import MESSAGE_BYTES
from messaging.names import Names
from producers.chunk import LONGEST_DETAIL, MOST_HOSTS, Chunk, interleave, shortened, task_of, unresolved
from producers.sources.base import Entry
from schemas.dids import DidTask
from schemas.errors import (
    AddressForbidden,
    HandleMismatch,
    IdentifierInvalid,
    IdentityIncomplete,
    IdentityNotFound,
    IdentityTombstoned,
    IdentityUnreachable,
    SkyfillError,
)
from schemas.job_status import OTHERS, UNRESOLVED
from schemas.outcomes import JobEvent, PlanOutcome, RepoOutcome
from schemas.plans import PlanCheckpoint
from tests.producers.deployment import KEY, did

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def task(number: int, host: str) -> DidTask:
    return task_of("job", Entry(did(number), rev="3lx"), Identity(did(number), None, host, KEY))


@given(st.lists(st.sampled_from("abcde"), max_size=60))
def test_hosts_take_turns_and_no_task_is_lost(hosts: list[str]) -> None:
    tasks = [task(number, host) for number, host in enumerate(hosts)]
    mixed = interleave(tasks)
    assert sorted(t.did for t in mixed) == sorted(t.did for t in tasks)
    for host in set(hosts):
        assert [t for t in mixed if t.pds == host] == [t for t in tasks if t.pds == host]
    # In every prefix, a host with tasks left is never more than one turn behind another.
    total, met = Counter(hosts), Counter[str]()
    for t in mixed:
        met[t.pds] += 1
        behind = [met[host] for host in total if met[host] < total[host]]
        assert not behind or max(met.values()) - min(behind) <= 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (IdentityNotFound("x"), "unavailable"),
        (IdentityTombstoned("x"), "unavailable"),
        (IdentityIncomplete("x"), "unavailable"),
        (HandleMismatch("x"), "unavailable"),
        (IdentityUnreachable("x"), "failed"),
        (IdentifierInvalid("x"), "failed"),
        (AddressForbidden("x"), "failed"),
    ],
)
def test_why_an_account_has_no_task(error: SkyfillError, status: str) -> None:
    outcome, letter = unresolved("job", Entry(did(1)), error, NOW)
    assert (outcome.status, outcome.reason, outcome.error_type) == (
        status,
        type(error).__name__,
        error.error_type,
    )
    assert (letter is not None) == (status == "failed")
    if letter:
        assert (letter.stage, letter.payload, letter.did) == ("plan", did(1), did(1))


def test_an_entry_of_any_length_fits_into_a_message() -> None:
    outcome, letter = unresolved("job", Entry("x" * 60_000), IdentifierInvalid("y" * 60_000), NOW)
    assert letter is not None
    assert len(outcome.encode()) < 10_000
    assert len(letter.encode()) < 10_000
    assert len(shortened("z" * LONGEST_DETAIL)) == LONGEST_DETAIL
    assert shortened("a\ud800b") == "a?b"


def test_the_checkpoint_comes_last_and_tasks_are_keyed_by_their_host() -> None:
    checkpoint = PlanCheckpoint(
        job_id="job", cursor="3", planned=2, duplicates=1, left_out={"moved": 4}, finished=True
    )
    lost = RepoOutcome(job_id="job", did="nobody.example", status="failed")
    tasks = [task(1, "https://a"), task(2, "https://b")]
    chunk = Chunk(tasks, [lost], [], checkpoint, "the disk broke", ["a note"], {"known": 3})
    sent = list(chunk.publications(Names("p."), NOW))
    assert [(topic, key) for topic, key, _ in sent] == [
        ("p.dids", "https://a"),
        ("p.dids", "https://b"),
        ("p.outcomes", "job"),
        ("p.outcomes", "job"),
        ("p.outcomes", "job"),
        ("p.outcomes", "job"),
        ("p.plans", "job"),
    ]
    assert sent[3][2] == JobEvent(job_id="job", event="noted", detail="a note", at=NOW)
    assert sent[4][2] == JobEvent(job_id="job", event="source_failed", detail="the disk broke", at=NOW)
    assert sent[5][2] == PlanOutcome(
        job_id="job",
        planned=2,
        duplicates=1,
        left_out={"moved": 4},
        hosts={"https://a": 1, "https://b": 1, UNRESOLVED: 1},
        resolved={"known": 3},
        finished=True,
    )
    assert sent[6][2] == checkpoint
    first = sent[0][2]
    assert isinstance(first, DidTask)
    assert first.rev == "3lx"


def test_a_plan_that_leads_to_very_many_hosts_fits_into_a_message() -> None:
    busy = [task(number, "https://busy.example") for number in range(3)]
    hosts = [f"https://{'x' * 200}{number}.example" for number in range(MOST_HOSTS + 7)]
    tasks = [*(task(number, host) for number, host in enumerate(hosts)), *busy]
    checkpoint = PlanCheckpoint(job_id="job", planned=len(tasks))
    sent = [m for _, _, m in Chunk(tasks, [], [], checkpoint).publications(Names("p."), NOW)]
    [plan] = [message for message in sent if isinstance(message, PlanOutcome)]
    assert len(plan.encode()) < MESSAGE_BYTES / 2
    assert (plan.hosts["https://busy.example"], plan.hosts[OTHERS]) == (3, 8)
    assert sum(plan.hosts.values()) == len(tasks)
