"""The verdict: stores, topics and counts against what the network served, and what the strikes cost.

Nothing here believes the pipeline: stores and topics are read whole, and the broker's own log is asked what
became of transactions.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson
from confluent_kafka import TopicPartition

from local.compare import (
    Comparison,
    compare,
    dynamodb_items,
    dynamodb_records_of,
    parquet_records,
    records_of,
)
from local.network.truth import AccountTruth
from messaging import clients
from messaging.control import hosts_of
from messaging.names import Names
from messaging.polling import Delivered, poll
from messaging.topics import end_offsets
from schemas.job_status import JobHost, JobStatus
from schemas.outcomes import RepoOutcome, decode_outcome
from schemas.settings import KafkaSettings
from tests.chaos.carried import Carried
from tests.chaos.log_segments import Transactions, transactions
from tests.chaos.plan import Plan
from tests.chaos.scene import PREFIX, TABLE, Scene

_GET_REPO = "com.atproto.sync.getRepo"
_SWEPT, _COLLIDED = "swept ", "was stored by another process already"


@dataclass(frozen=True)
class Check:
    """One promise, and whether it was kept."""

    promise: str
    kept: bool
    found: str


@dataclass(frozen=True)
class Cost:
    """What the strikes undid, as measured."""

    transactions_aborted: int
    transactions_committed: int
    messages_unseen: int
    """Written in transactions that were aborted."""
    tasks_redone: int
    """Repositories that were downloaded whole again, beyond what their own faults explain."""
    files_discarded: int
    """Drafts that a successor swept, and files whose rows another process had stored already."""


@dataclass(frozen=True)
class Judgement:
    """How a campaign ended."""

    checks: list[Check]
    cost: Cost
    records: int
    lost: int
    doubled: int
    examples: list[str]

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return all(check.kept for check in self.checks)


async def judge(scene: Scene, plan: Plan, carried: Sequence[Carried], status: JobStatus) -> Judgement:
    """Reads everything back. A campaign that undid nothing has proven nothing, and fails."""
    truth = list(scene.network.truth())
    stores = [
        await asyncio.to_thread(compare, "Parquet", records_of(truth), parquet_records(scene.parquet)),
        await asyncio.to_thread(
            compare,
            "DynamoDB",
            records_of(truth),
            dynamodb_records_of(scene.settings.dynamodb, TABLE, scene.network.dids),
        ),
    ]
    items = await asyncio.to_thread(dynamodb_items, scene.settings.dynamodb, TABLE)
    checks = [*_plan(plan, carried), *(_store(store) for store in stores)]
    checks.append(Check("no item of anybody else", items == stores[1].stored, f"{items:,} in the table"))
    checks += await asyncio.to_thread(_topics, scene.settings.kafka, truth)
    pages = await asyncio.to_thread(hosts_of, scene.settings.kafka, status.job_id)
    checks += _counts(status, pages, truth, scene.network.hosts)
    found = await asyncio.to_thread(transactions, scene.folder / "kafka" / "log", PREFIX)
    cost = _cost(scene, found, truth)
    for what, number in (
        ("transactions aborted", cost.transactions_aborted),
        ("tasks redone", cost.tasks_redone),
        ("files discarded", cost.files_discarded),
    ):
        checks.append(Check(f"some {what}", number > 0, f"{number:,}"))
    return Judgement(
        checks,
        cost,
        records=sum(len(account.records) for account in truth),
        lost=sum(store.lost + store.different for store in stores),
        doubled=sum(store.duplicated + store.foreign for store in stores),
        examples=[example for store in stores for example in store.examples],
    )


def _plan(plan: Plan, carried: Sequence[Carried]) -> list[Check]:
    """Whether everybody was struck as planned. Nobody can be struck but with work open."""
    kills = Counter(done.strike.point for done in carried if done.strike.what == "kill")
    stops = Counter((done.strike.kind, done.strike.delay) for done in carried if done.strike.what == "stop")
    wanted_kills = Counter(strike.point for strike in plan.strikes if strike.what == "kill")
    wanted_stops = Counter((s.kind, s.delay) for s in plan.strikes if s.what == "stop")
    open_ = all(sum(done.struck.open.values()) for done in carried)
    each = " or ".join(map(str, sorted(set(kills.values()))))
    return [
        Check(
            "kills with work open, evenly over the points",
            open_ and kills == wanted_kills and len(set(kills.values())) == 1,
            f"{kills.total()} kills, {each} at each of {len(kills)} points",
        ),
        Check(
            "stops past the session, until others had the place",
            open_ and stops == wanted_stops,
            f"{stops.total()} stops of {len({kind for kind, _ in stops})} kinds of process, "
            f"{len({delay for _, delay in stops})} delays each",
        ),
    ]


def _store(store: Comparison) -> Check:
    return Check(
        f"every record exactly once in {store.name}",
        store.exact,
        f"{store.stored:,} stored, {store.lost} lost, {store.duplicated} duplicated, "
        f"{store.different} different, {store.foreign} foreign",
    )


def _topics(kafka: KafkaSettings, truth: list[AccountTruth]) -> list[Check]:
    """What a reader of committed messages sees of outcomes and records."""
    names = Names(kafka.topic_prefix)
    ends = Counter[str]()
    for message in read_committed(kafka, names.outcomes, kafka.partitions.outcomes):
        outcome = decode_outcome(message.value or b"")
        if isinstance(outcome, RepoOutcome) and outcome.status != "retrying":
            ends[outcome.did] += 1
    markers, records = Counter[str](), Counter[str]()
    for message in read_committed(kafka, names.records, kafka.partitions.records):
        event = orjson.loads(message.value or b"")
        if event["kind"] == "sync":
            markers[event["did"]] += 1
        else:
            commit = event["commit"]
            records[f"at://{event['did']}/{commit['collection']}/{commit['rkey']}"] += 1
    completed = Counter(account.did for account in truth if account.state == "ok")
    return [
        _same("one terminal outcome of each account", ends, Counter(account.did for account in truth)),
        _same("one sync marker of each completed account", markers, completed),
        _same("each record once in the topic", records, Counter(r.uri for r in records_of(truth))),
    ]


def _same(promise: str, found: Counter[str], wanted: Counter[str]) -> Check:
    missing, surplus = wanted - found, found - wanted
    text = f"{found.total():,} found, {missing.total()} missing, {surplus.total()} too many"
    return Check(promise, found == wanted, text + "".join(f"; {key}" for key in [*missing, *surplus][:3]))


def _counts(
    status: JobStatus, pages: dict[str, JobHost], truth: list[AccountTruth], hosts: list[str]
) -> list[Check]:
    """Every figure of the status that the network's truth determines."""
    ok = [account for account in truth if account.state == "ok"]
    unavailable = [account for account in truth if account.state == "unavailable"]
    failed = len(truth) - len(ok) - len(unavailable)
    totals = status.totals
    figures: list[tuple[str, object, object]] = [
        ("status", status.status, "partial_success" if failed else "complete"),
        ("total", status.total, len(truth)),
        ("completed", totals.completed, len(ok)),
        ("unavailable", totals.unavailable, len(unavailable)),
        ("failed", totals.failed, failed),
        ("retrying", totals.retrying, 0),
        ("skipped and cancelled", totals.skipped + totals.cancelled, 0),
        ("records", totals.records, sum(len(account.records) for account in ok)),
        ("records by type", totals.by_type, dict(Counter(_collection(r.uri) for r in records_of(ok)))),
        ("invalid records", totals.dropped.get("invalid", 0), sum(len(account.invalid) for account in ok)),
        ("reasons", status.reasons, dict(Counter(a.reason for a in truth if a.state != "ok"))),
        ("unavailable by reason", totals.unavailable_by, dict(Counter(a.reason for a in unavailable))),
        ("failed by type", sum(totals.failed_by.values()), failed),
        (
            "planned by host",
            sum(page.planned for page in pages.values()),
            len(truth),
        ),
        (
            "completed by host",
            {host: page.counts.completed for host, page in pages.items() if page.counts.completed},
            dict(Counter(hosts[account.host] for account in ok)),
        ),
        (
            "records by host",
            {host: page.counts.records for host, page in pages.items() if page.counts.records},
            {
                host: number
                for n, host in enumerate(hosts)
                if (number := sum(len(account.records) for account in ok if account.host == n))
            },
        ),
    ]
    wrong = [f"{name}: {said}, not {wanted}" for name, said, wanted in figures if said != wanted]
    text = (
        f"{totals.completed:,} completed, {totals.unavailable} unavailable, {totals.failed} failed, "
        f"{totals.records:,} records; {len(figures)} figures compared"
    )
    return [Check("exact counts in the status", not wrong, "; ".join(wrong) or text)]


def _cost(scene: Scene, found: Transactions, truth: list[AccountTruth]) -> Cost:
    ledger = scene.network.ledger
    redone = 0
    for account in truth:
        if account.number not in scene.fetched_again:
            whole = ledger.count(did=account.did, method=_GET_REPO, status=200, ending="complete")
            redone += max(0, whole - 1)
    discarded = 0
    for log in (scene.folder / "data" / "logs").glob("sink-parquet-*.log"):
        text = log.read_text("utf-8", "replace")
        discarded += text.count(_SWEPT) + text.count(_COLLIDED)
    return Cost(len(found.aborted), found.committed_markers, sum(found.unseen.values()), redone, discarded)


def read_committed(kafka: KafkaSettings, topic: str, partitions: int) -> Iterator[Delivered]:
    """All messages that lie in a topic and are committed."""
    ends = end_offsets(clients.admin(kafka), topic, range(partitions))
    consumer = clients.reader(kafka)
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
        open_ = {partition for partition, end in ends.items() if end > 0}
        while open_:
            polled = poll(consumer, 1000, 1.0)
            yield from polled.messages
            open_ -= {partition for (_, partition), end in polled.ends.items() if end >= ends[partition]}
    finally:
        consumer.close()


def _collection(uri: str) -> str:
    return uri.split("/")[3]
