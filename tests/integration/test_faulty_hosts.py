"""A thousand accounts over twelve hosts, each host with a trouble of its own, one that never answers.

The job ends, in bounded time, with every count exact by the hosts' own ledger; a second job over its
failures, with the troubles gone, brings the rest.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from local.compare import compare, parquet_records, records_of
from local.network.faults import (
    Corrupted,
    CutShort,
    Fault,
    HiddenLimit,
    HostDown,
    Moved,
    Odd,
    RateLimited,
    ServerError,
    Stalled,
    Unavailable,
)
from local.network.network import Network
from messaging.names import Names
from messaging.scan import scan
from schemas.deadletter import DeadLetter
from schemas.job_status import Counts, JobStatus
from schemas.settings import Settings
from tests.integration.rig import running, settings_for

ACCOUNTS, HOSTS = 1000, 12
GIVE_UP_SECONDS = 12.0
GIVEN_UP = "HostGivenUp"


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a host, and how its accounts end for it; `reason` None: they are fetched."""

    faults: tuple[Fault, ...]
    reason: str | None
    letters: int | None = None
    """Dead letters of the host; None: one for each account that failed."""


TROUBLES: Mapping[int, Trouble] = {
    0: Trouble((), None),
    1: Trouble((RateLimited(host=1, limit=40, window=3),), None),
    2: Trouble((HostDown(2, silent=True),), GIVEN_UP, letters=1),
    3: Trouble((HostDown(3),), GIVEN_UP, letters=1),
    4: Trouble((Odd(host=4, answer="200 page"),), GIVEN_UP, letters=1),
    5: Trouble((ServerError(host=5, status=502, first=5),), None),
    6: Trouble((ServerError(host=6, status=500),), "UnexpectedResponse"),
    7: Trouble((CutShort(host=7, first=4),), None),
    8: Trouble((HiddenLimit(host=8, limit=40, window=3),), None),
    9: Trouble((Odd(host=9, answer="501"),), "UnexpectedResponse"),
    10: Trouble((Stalled(host=10, at="body"),), GIVEN_UP, letters=1),
    11: Trouble((Odd(host=11, answer="403 page", first=5),), None),
}
SINGLE: tuple[Fault, ...] = (
    Unavailable(account=0),
    Unavailable(account=12, state="deactivated"),
    Moved(account=24, to_host=1),
    Corrupted(account=36),
)
"""Of accounts of host 0."""


@pytest.mark.timeout(280)
async def test_every_account_is_accounted_for(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [fault for trouble in TROUBLES.values() for fault in trouble.faults]
    async with Network(
        seed=21, accounts=ACCOUNTS, hosts=HOSTS, records=4, spread=0, faults=[*faults, *SINGLE]
    ) as network:
        settings = settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data")
        async with running(settings, sinks=["parquet"], monkeypatch=monkeypatch) as rig:
            rig.publish("first", document({"type": "inline", "dids": list(network.dids)}, tmp_path / "out"))
            first = await rig.status("first", lambda job: job.final)
            assert_first_is_exact(first, await rig.hosts("first"), network)
            assert_letters(await asyncio.to_thread(letters, settings), network)

            for fault in [*faults, SINGLE[-1]]:
                await network.withdraw(fault)
            rig.publish("second", document({"type": "job", "job_id": "first"}, tmp_path / "out"))
            second = await rig.status("second", lambda job: job.final)
            await rig.drained(["parquet"])
        assert second.status == "complete", second
        assert second.total == second.totals.completed == first.totals.failed
        stored = compare("Parquet", records_of(network.truth()), parquet_records(tmp_path / "out"))
        assert stored.exact, stored
        done = first.totals.records + second.totals.records
        assert done == sum(len(account.records) for account in network.truth())


def document(source: dict[str, object], out: Path) -> bytes:
    return orjson.dumps(
        {
            "backfill": {
                "source": source,
                "processing": {
                    "requests_per_second": 200,
                    "max_retries": 1,
                    "timeout_seconds": 1.5,
                    "host_give_up_seconds": GIVE_UP_SECONDS,
                },
                "storage": {"type": "parquet", "path": str(out)},
            }
        }
    )


def assert_first_is_exact(job: JobStatus, hosts: dict[str, Counts], network: Network) -> None:
    """Status and counts by host, against what the hosts themselves say they served."""
    served = served_whole(network)
    assert job.status == "partial_success"
    assert (job.total, job.totals.retrying) == (ACCOUNTS, 0)
    assert job.totals.completed == sum(served.values())
    expected = expectations(network)
    for number, origin in enumerate(network.hosts):
        counts = hosts.get(origin, Counts())
        found = (counts.completed, counts.unavailable, counts.failed)
        assert found == expected[number], f"host {number}: {counts}"
        assert counts.completed == served[number]
    assert job.totals.terminal == sum(sum(counts) for counts in expected.values()) == ACCOUNTS
    failed = Counter[str]()
    for number, trouble in TROUBLES.items():
        if trouble.reason is not None:
            failed[trouble.reason] += expected[number][2]
    gone = {"RepoTakendown": 1, "RepoDeactivated": 1, "BlockMismatch": 1}
    assert job.reasons == failed + Counter(gone)


def expectations(network: Network) -> dict[int, tuple[int, int, int]]:
    """Accounts completed, unavailable and failed, by host."""
    lives = Counter(network.account(number).host for number in range(ACCOUNTS))
    expected = {
        number: (lives[number], 0, 0) if trouble.reason is None else (0, 0, lives[number])
        for number, trouble in TROUBLES.items()
    }
    expected[0] = (lives[0] - 4, 2, 1)
    expected[1] = (lives[1] + 1, 0, 0)  # one moved here
    return expected


def served_whole(network: Network) -> Counter[int]:
    """Accounts whose repository a host has sent to its end and that is what it should be, by host.

    A page with a status of 200 is none, and neither is a repository with a flipped byte.
    """
    odd = {number for number, trouble in TROUBLES.items() if any(isinstance(f, Odd) for f in trouble.faults)}
    found: defaultdict[int, set[str | None]] = defaultdict(set)
    for request in network.ledger.requests():
        if request.method == "com.atproto.sync.getRepo" and request.ending == "complete":
            number = int(request.host.removeprefix("pds"))
            if request.status == 200 and (number not in odd or TROUBLES[number].reason is None):
                found[number].add(request.did)
    found[0].discard(network.dids[36])
    return Counter({number: len(dids) for number, dids in found.items()})


def letters(settings: Settings) -> list[DeadLetter]:
    topic = Names(settings.kafka.topic_prefix).deadletter
    return [DeadLetter.decode(message.value or b"") for message in scan(settings.kafka, topic, 0, None)]


def assert_letters(found: list[DeadLetter], network: Network) -> None:
    """One for each account that failed by itself, and one for all accounts of a host that was given up."""
    by_host = Counter(letter.host for letter in found)
    expected = expectations(network)
    for number, origin in enumerate(network.hosts):
        letters = TROUBLES[number].letters
        assert by_host[origin] == (expected[number][2] if letters is None else letters), f"host {number}"
