"""Ten jobs at once on one network, each of another kind, while processes are killed at random.

Every status is what the network's truth says, and stores hold each record of each job's selection once.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest

from local.compare import compare, dynamodb_records, parquet_records
from local.network.faults import Corrupted, Fault, HostDown, InvalidRecord, RateLimited, Unavailable
from local.network.network import Network
from local.network.truth import AccountTruth, RecordTruth
from messaging.names import SinkKind
from schemas.job_status import JobStatus
from tests.integration.rig import PATIENCE, Rig, running, settings_for

HOSTS, DEAD = 6, 5
GET_REPO = "com.atproto.sync.getRepo"
STORED_TWICE = "everything"
RECORDS = 14
VICTIMS = ("producer", "tracker", "worker-0", "worker-1")
POST, LIKE, REPOST, FOLLOW, BLOCK = (
    f"app.bsky.{name}" for name in ("feed.post", "feed.like", "feed.repost", "graph.follow", "graph.block")
)
TYPES: Mapping[str, tuple[list[str], frozenset[str] | None]] = {
    "all": ([], None),
    "posts": ([POST], frozenset({POST})),
    "likes": (["like", "repost"], frozenset({LIKE, REPOST})),
    "graph": (["app.bsky.graph.*"], frozenset({FOLLOW, BLOCK})),
}


@dataclass(frozen=True)
class Kind:
    """A job: what it selects, and how it goes. `pace` in requests a second to each host."""

    types: str = "all"
    pace: float = 4
    more: dict[str, Any] = field(default_factory=dict)
    accounts: Literal["shared", "own", "none", "dead"] = "shared"


JOBS: Mapping[str, Kind] = {
    "everything": Kind(),
    "posts": Kind("posts"),
    "likes": Kind("likes"),
    "graph": Kind("graph"),
    "listed": Kind("likes", more={"strategy": "list"}, pace=12),
    "troubled": Kind(accounts="own"),
    "paused": Kind("posts"),
    "cancelled": Kind(pace=0.1, accounts="own"),
    "empty": Kind(accounts="none"),
    "failing": Kind(more={"host_give_up_seconds": 2, "max_retries": 1}, accounts="dead"),
}


@pytest.mark.timeout(200)
async def test_ten_jobs_at_once(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(kafka, dynamodb, prefix, tmp_path, monkeypatch)
    await ten_jobs(place, ["parquet"], seed=1, accounts=15, kills=4)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [2, 3])
async def test_ten_larger_jobs_and_more_kills(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    place = Place(kafka, dynamodb, prefix, tmp_path, monkeypatch)
    await ten_jobs(place, ["parquet", "dynamodb"], seed=seed, accounts=200, kills=20)


@dataclass(frozen=True)
class Place:
    """Where a story takes place."""

    kafka: str
    dynamodb: str
    prefix: str
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    @property
    def table(self) -> str:
        """That of the job which goes to all stores."""
        return f"{self.prefix}ten_jobs"


async def ten_jobs(place: Place, sinks: list[SinkKind], *, seed: int, accounts: int, kills: int) -> None:
    """The story: `accounts` of each job, some of which are another's, too; one job goes to all `sinks`."""
    rng = random.Random(seed)
    cast = Cast(accounts)
    async with Network(
        seed=seed, accounts=cast.total, hosts=HOSTS, records=RECORDS, spread=0, faults=cast.faults
    ) as network:
        truth = {account.number: account for account in network.truth()}
        settings = settings_for(
            place.kafka, place.dynamodb, place.prefix, network.plc_url, place.folder / "data"
        )
        async with running(settings, sinks=sinks, monkeypatch=place.monkeypatch) as rig:
            for name in JOBS:
                rig.publish(name, cast.document(name, network, place, sinks))
            rig.publish("paused", orjson.dumps({"action": "pause"}))
            await killed(rig, network, rng, kills, accounts)
            await rig.status("paused", lambda job: job.status == "paused")
            await rig.status("cancelled", lambda job: job.plan_finished and job.totals.completed > 0)
            rig.publish("cancelled", orjson.dumps({"action": "cancel"}))
            rig.publish("paused", orjson.dumps({"action": "resume"}))
            statuses = {name: await rig.status(name, lambda job: job.final) for name in JOBS}
            asked = network.ledger.count(method=GET_REPO)
            await rig.drained(sinks)
            assert network.ledger.count(method=GET_REPO) == asked
            assert sum(rig.process(name).restarts for name in VICTIMS) >= kills
        items = []
        if "dynamodb" in sinks:
            items = await asyncio.to_thread(lambda: [*dynamodb_records(settings.dynamodb, place.table)])
    for name, status in statuses.items():
        own = [truth[n] for n in cast.numbers[name]]
        assert_exact(name, status, own, place.folder / name)
        if name == STORED_TWICE and items:
            compared = compare(name, [record for account in own for record in account.records], items)
            assert compared.exact, compared


class Cast:
    """Which accounts are whose, by number; the dead host's are nobody's but the failing job's."""

    def __init__(self, each: int) -> None:
        """Jobs share a fifth of their accounts with the next one, if they share any."""
        self.total = each * (len(JOBS) - 1) * HOSTS // (HOSTS - 1) + HOSTS
        dead = [number for number in range(self.total) if number % HOSTS == DEAD]
        pool = [number for number in range(self.total) if number % HOSTS != DEAD]
        self.numbers: dict[str, list[int]] = {"empty": [], "failing": dead[:each]}
        at = 0
        for name, kind in JOBS.items():
            if kind.accounts == "own":
                self.numbers[name], pool = pool[-each:], pool[:-each]
        for name, kind in JOBS.items():
            if kind.accounts == "shared":
                self.numbers[name] = pool[at : at + each]
                at += each - each // 5
        troubled = self.numbers["troubled"]
        self.faults: list[Fault] = [
            HostDown(DEAD),
            RateLimited(host=1, limit=30, window=2),
            Unavailable(troubled[0]),
            Unavailable(troubled[1], state="deactivated"),
            Corrupted(troubled[2]),
            Corrupted(troubled[3], how="wrong_signature"),
            InvalidRecord(troubled[4]),
        ]

    def document(self, name: str, network: Network, place: Place, sinks: list[SinkKind]) -> bytes:
        """The job's first message."""
        folder = place.folder
        storage = [{"type": "parquet", "path": str(folder / name)}]
        if name == STORED_TWICE and "dynamodb" in sinks:
            storage.append({"type": "dynamodb", "table_name": place.table})
        kind = JOBS[name]
        source: dict[str, Any] = {"type": "inline", "dids": [network.dids[n] for n in self.numbers[name]]}
        if kind.accounts == "none":
            (folder / "none.txt").write_text("# nobody yet\n\n")
            source = {"type": "file", "path": str(folder / "none.txt")}
        backfill = {
            "name": name,
            "source": source,
            "record_types": TYPES[kind.types][0],
            "processing": {"requests_per_second": kind.pace, "batch_size": 10} | kind.more,
            "storage": storage,
            "monitoring": {"alert_on_failure": False},
        }
        return orjson.dumps({"backfill": backfill})


async def killed(rig: Rig, network: Network, rng: random.Random, kills: int, accounts: int) -> None:
    """Kills processes one after the other, each somewhat further on than the one before."""
    names = [*VICTIMS, *rng.choices(VICTIMS, k=max(0, kills - len(VICTIMS)))][:kills]
    rng.shuffle(names)
    asked = 0
    for name in names:
        asked += rng.randint(1, max(1, 4 * accounts // kills))
        await until_asked(network, asked)
        await rig.kill(name)


async def until_asked(network: Network, times: int) -> None:
    """Returns when so many repositories were answered."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while network.ledger.count(method=GET_REPO, ending="complete") < times:
        assert asyncio.get_running_loop().time() < deadline, "nobody asks any more"
        await asyncio.sleep(0.05)


def assert_exact(name: str, status: JobStatus, accounts: list[AccountTruth], folder: Path) -> None:
    """Counts and rows, against the truth about the job's accounts."""
    kind, totals = JOBS[name], status.totals
    assert (status.total, totals.retrying, status.outstanding) == (len(accounts), 0, 0), (name, status)
    wanted = {account.did: selected(account, kind) for account in accounts if account.state == "ok"}
    rows = list(parquet_records(folder))
    if name == "cancelled":
        assert status.status == "cancelled"
        stored = {row.uri.split("/")[2] for row in rows}
        assert 0 < totals.completed == len(stored) < len(accounts)
        assert totals.cancelled == len(accounts) - totals.completed
        wanted = {did: records for did, records in wanted.items() if did in stored}
    else:
        ended = Counter(account.state for account in accounts)
        failed = ended["corrupted"] + ended["unreachable"]
        found = (totals.completed, totals.unavailable, totals.failed, totals.skipped, totals.cancelled)
        assert found == (ended["ok"], ended["unavailable"], failed, 0, 0), (name, status)
        invalid = sum(len(account.invalid) for account in accounts if account.state == "ok")
        assert totals.dropped.get("invalid", 0) == invalid == (name == "troubled"), name
    expected = [record for records in wanted.values() for record in records]
    assert totals.records == len(expected), name
    assert totals.by_type == Counter(record.uri.split("/")[3] for record in expected), name
    compared = compare(name, expected, rows)
    assert compared.exact, compared
    if name == "empty":
        assert status.status == "error"
    elif name in ("failing", "troubled"):
        assert status.status in ("partial_success", "error")
    elif name != "cancelled":
        assert status.status == "complete", status


def selected(account: AccountTruth, kind: Kind) -> list[RecordTruth]:
    """The account's records that the job wants."""
    collections = TYPES[kind.types][1]
    return [
        record for record in account.records if collections is None or record.uri.split("/")[3] in collections
    ]
