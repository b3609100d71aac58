"""One tour through a network where everything goes wrong once, by a real worker and a real tracker.

The tour collects all that Kafka and the network hold in the end; the tests then judge it at leisure.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from atp.xrpc import Client
from local.network.accounts import Account
from local.network.faults import (
    Corrupted,
    CutShort,
    Fault,
    HiddenLimit,
    HostDown,
    InvalidRecord,
    Moved,
    RateLimited,
    RotatedKey,
    ServerError,
    Slow,
    Tombstoned,
    Unavailable,
)
from local.network.network import Network
from local.network.truth import AccountTruth
from messaging.polling import Delivered
from schemas.deadletter import DeadLetter
from schemas.dids import DidTask
from schemas.job_specs import JobSpec
from schemas.job_status import JobHost, JobStatus
from schemas.outcomes import JobEvent, RepoOutcome
from schemas.records import RecordEvent, SyncEvent
from schemas.repos import RepoState
from tests.scraping import scrape, total
from tests.stream_workers.deployment import Deployment, tasks_of
from tests.stream_workers.documents import job_spec

HOSTS = 7
LIMITED, UNTOLD, DOWN = 4, 5, 6
"""Hosts with a limit that they advertise, with one they don't, and without an answer."""
DOWN_ACCOUNTS = 7
PER_HOST = 24
LIMIT, UNTOLD_LIMIT = 10, 5
RETRIES = 2
JUNK = [b"{", None, b"\x00" * 900_000, b'{"job_id":"faults","unheard":"of"}', b"\xff\xfe"]
"""What is no task; the zeros are more than a message's worth once they are escaped."""


def on_host(host: int, turn: int) -> int:
    """The number of an account on a host."""
    return host + HOSTS * turn


_NAMES = (
    "good empty large takendown suspended deactivated not_found tombstone moved moved_on flipped "
    "missing_twice missing_four missing forged rotated invalid error_once error cut_once slow_once"
)
NAMED = {name: on_host(turn % 4, turn // 4) for turn, name in enumerate(_NAMES.split())}
"""Accounts that one fault each strikes, all on hosts that are fine."""
PAUSED = [on_host(0, turn) for turn in range(8, 13)]
DROPPED = [on_host(1, turn) for turn in range(8, 11)]
CANCELLED = [on_host(3, turn) for turn in range(8, 16)]
FAULTS: list[Fault] = [
    Unavailable(NAMED["takendown"], "takendown"),
    Unavailable(NAMED["suspended"], "suspended"),
    Unavailable(NAMED["deactivated"], "deactivated"),
    Unavailable(NAMED["not_found"], "not_found"),
    Tombstoned(NAMED["tombstone"]),
    Moved(NAMED["moved"], to_host=2),
    Moved(NAMED["moved_on"], to_host=2),
    Corrupted(NAMED["flipped"], "flipped_byte"),
    Corrupted(NAMED["missing_twice"], "missing_block", first=2),
    Corrupted(NAMED["missing_four"], "missing_block", first=4),
    Corrupted(NAMED["missing"], "missing_block"),
    Corrupted(NAMED["forged"], "wrong_signature"),
    RotatedKey(NAMED["rotated"], stale_answers=0),
    InvalidRecord(NAMED["invalid"]),
    ServerError(account=NAMED["error_once"], first=1),
    ServerError(account=NAMED["error"], status=503),
    CutShort(account=NAMED["cut_once"], first=1),
    Slow(account=NAMED["slow_once"], first=1, seconds=6.0),
    RateLimited(LIMITED, limit=LIMIT, window=3),
    HiddenLimit(UNTOLD, limit=UNTOLD_LIMIT),
    HostDown(DOWN),
]
SIZES = dict.fromkeys(NAMED.values(), 60) | {
    NAMED["good"]: 150,
    NAMED["empty"]: 0,
    NAMED["large"]: 3000,
}


@dataclass
class Tour:
    """What was there in the end."""

    network: Network
    hosts: list[str]
    truth: dict[str, AccountTruth]
    specs: dict[str, JobSpec]
    records: dict[tuple[str, str], list[tuple[Delivered, RecordEvent | SyncEvent]]]
    """By job and DID, in the order that they lie in."""
    partitions: dict[int, list[Delivered]]
    """The topic `records` by partition."""
    outcomes: dict[tuple[str, str], list[RepoOutcome]]
    letters: list[DeadLetter]
    requeued: dict[tuple[str, str], list[tuple[str, DidTask]]]
    """Messages of `dids.retry` and their keys, by job and DID."""
    repos: dict[str, RepoState]
    statuses: dict[str, JobStatus]
    hosts_of: dict[str, dict[str, JobHost]]
    """Counts by host, by job."""
    paused: dict[str, int]
    """While the job was paused: its tasks in the retry topic, its outcomes, requests for its accounts."""
    good_head: str
    exit_codes: list[int]
    ends: list[dict[int, int]]
    committed: list[dict[int, int]]
    spooled: bool
    large_transactions: float
    """Of single large repositories, as the worker counts them."""
    guarded: tuple[list[RepoOutcome], list[DeadLetter], int]
    """Of a worker that may not go to private addresses: outcomes, dead letters, requests that got through."""

    def account(self, name: str) -> Account:
        return self.network.account(NAMED[name])

    def requests(self, name: str) -> int:
        """Downloads of a named account's repository that were asked for."""
        return self.network.ledger.count(did=self.account(name).did, method="com.atproto.sync.getRepo")


async def travel(kafka: str, prefix: str, folder: Path) -> Tour:
    """The tour; about half a minute, most of it waiting for rate limits and retries."""
    network = Network(seed=5, accounts=HOSTS * PER_HOST, hosts=HOSTS, records=25, sizes=SIZES, faults=FAULTS)
    async with network:
        main = await asyncio.to_thread(
            Deployment, kafka, prefix, folder / "main", network.plc_url, WORKER__SPOOL_BYTES="65536"
        )
        guarded = await asyncio.to_thread(
            Deployment,
            kafka,
            f"{prefix}guarded.",
            folder / "guarded",
            network.plc_url,
            NETWORK__ALLOW_PRIVATE_HOSTS="false",
        )
        try:
            return await _travel(network, main, guarded, folder)
        finally:
            await main.close()
            await guarded.close()


async def _travel(network: Network, main: Deployment, guarded: Deployment, folder: Path) -> Tour:
    processes = [main.start("worker"), main.start("tracker")]
    refused = await _ask_forbidden(network, guarded)
    _plan(network, main)
    await _cancel_midway(network, main)
    await main.final("faults")
    paused = await _see_paused(network, main)
    main.set_job("paused")
    main.set_job("dropped", "cancelled")
    jobs = ["faults", "again", "choosy", "hasty", "limited", "down", "paused", "dropped", "cancelled"]
    statuses = {job: await main.final(job) for job in jobs}
    async with Client(allow_private_hosts=True) as client:
        good = network.account(NAMED["good"])
        head = (await client.get_latest_commit(network.hosts[good.host], good.did)).body["cid"]
    samples = await asyncio.to_thread(scrape, folder / "main")
    codes = [await process.terminate() for process in processes]
    await main.quiet()
    tour = Tour(
        network=network,
        hosts=network.hosts,
        truth={truth.did: truth for truth in network.truth()},
        specs={job: job_spec(job, **FIELDS.get(job, {})) for job in jobs},
        records=defaultdict(list),
        partitions=defaultdict(list),
        outcomes=defaultdict(list),
        letters=[DeadLetter.decode(m.value or b"") for m in await main.read(main.names.deadletter)],
        requeued=defaultdict(list),
        repos={m.key: RepoState.decode(m.value or b"") for m in await main.read(main.names.repos)},
        statuses=statuses,
        hosts_of={job: await main.hosts(job) for job in jobs},
        paused=paused,
        good_head=head,
        exit_codes=codes,
        ends=[await main.ends(topic) for topic in (main.names.dids, main.names.dids_retry)],
        committed=[
            await main.committed(main.names.worker_group, topic)
            for topic in (main.names.dids, main.names.dids_retry)
        ],
        spooled=(folder / "main" / "tmp").exists(),
        large_transactions=total(samples, "skyfill_transactions_total{producer=large,result=committed}"),
        guarded=refused,
    )
    for message in await main.read(main.names.records):
        value = message.value or b""
        sync = orjson.loads(value)["kind"] == "sync"
        event = (SyncEvent if sync else RecordEvent).model_validate_json(value)
        tour.records[event.job, message.key].append((message, event))
        tour.partitions[message.partition].append(message)
    for outcome in await main.outcomes():
        tour.outcomes[outcome.job_id, outcome.did].append(outcome)
    for message in await main.read(main.names.dids_retry):
        task = DidTask.decode(message.value or b"")
        tour.requeued[task.job_id, task.did].append((message.key, task))
    return tour


FIELDS: dict[str, dict[str, Any]] = {
    "faults": {"processing": {"requests_per_second": 1000, "max_retries": RETRIES}},
    "again": {"processing": {"requests_per_second": 1000}},
    "choosy": {
        "processing": {"requests_per_second": 1000},
        "record_types": ["like", "app.bsky.graph.*"],
        "time_range": {"start_date": "2024-07-01", "end_date": "2025-06-30", "by": "rkey"},
    },
    "hasty": {"processing": {"timeout_seconds": 3}},
    "limited": {"processing": {"requests_per_second": 20, "max_retries": 0}},
    "down": {"processing": {"max_retries": 0, "host_give_up_seconds": 2}},
    "cancelled": {"processing": {"requests_per_second": 1, "max_concurrent_per_pds": 1}},
}
"""What the jobs' documents say beside accounts and storage."""


def _plan(network: Network, main: Deployment) -> None:
    for value in JUNK:
        main.publish(main.names.dids, "https://junk.test", value)
    stray = tasks_of(network, "nobody", [NAMED["good"]])
    assert main.give(stray) == 1
    apart = {NAMED[name] for name in ("slow_once", "moved_on")}
    tasks = tasks_of(network, "faults", [n for n in NAMED.values() if n not in apart])
    tasks += tasks_of(network, "faults", [NAMED["moved_on"]], moves=1)
    main.set_job("paused", "paused")
    main.set_job("dropped", "paused")
    main.plan("cancelled", tasks_of(network, "cancelled", CANCELLED), **FIELDS["cancelled"])
    main.plan("faults", tasks, **FIELDS["faults"])
    for job, numbers in (
        ("again", [NAMED["good"]]),
        ("choosy", [NAMED["good"], NAMED["large"]]),
        ("hasty", [NAMED["slow_once"]]),
        ("limited", [on_host(host, turn) for host in (LIMITED, UNTOLD) for turn in range(PER_HOST)]),
        ("down", [on_host(DOWN, turn) for turn in range(DOWN_ACCOUNTS)]),
    ):
        main.plan(job, tasks_of(network, job, numbers), **FIELDS[job])
    main.publish(main.names.outcomes, "faults", b"\x00" * 4_000_000)
    foreign = JobEvent(job_id="again", event="cancelled", at=datetime.now(UTC))
    main.publish(main.names.outcomes, "faults", foreign.encode())
    main.plan("paused", tasks_of(network, "paused", PAUSED), state="paused")
    main.plan("dropped", tasks_of(network, "dropped", DROPPED), state="paused")


async def _cancel_midway(network: Network, main: Deployment) -> None:
    async def begun() -> bool:
        return any(o.status == "completed" for o in await main.outcomes("cancelled"))

    await main.until(begun, "the first account of the job to be cancelled")
    main.set_job("cancelled", "cancelled", **FIELDS["cancelled"])


async def _see_paused(network: Network, main: Deployment) -> dict[str, int]:
    tasks = [DidTask.decode(m.value or b"") for m in await main.read(main.names.dids_retry)]
    return {
        "parked": len({task.did for task in tasks if task.job_id == "paused"}),
        "outcomes": len(await main.outcomes("paused")),
        "requests": sum(network.ledger.count(did=network.dids[number]) for number in PAUSED),
    }


async def _ask_forbidden(
    network: Network, guarded: Deployment
) -> tuple[list[RepoOutcome], list[DeadLetter], int]:
    number = on_host(2, PER_HOST - 1)
    guarded.plan("guarded", tasks_of(network, "guarded", [number]))
    guarded.start("worker")

    async def some() -> list[RepoOutcome]:
        return await guarded.outcomes("guarded")

    outcomes = await guarded.until(some, "the outcome of a forbidden address")
    await guarded.quiet()
    letters = [DeadLetter.decode(m.value or b"") for m in await guarded.read(guarded.names.deadletter)]
    return outcomes, letters, network.ledger.count(did=network.dids[number])
