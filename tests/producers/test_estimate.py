"""The dry run: what was counted, what was sampled and what is not known are never mixed up."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from atp.xrpc import Client
from messaging import clients
from messaging.topics import create_topics
from producers.budgets import pace_of
from producers.estimate import MEAN_BYTES, MEAN_RECORDS, Arithmetic, estimate
from producers.survey import Found, Survey
from schemas.backfill import Backfill
from schemas.document import parse_document
from schemas.errors import IdentityNotFound, SourceError
from schemas.hosts import BucketState, HiddenState, HostState
from schemas.settings import KafkaSettings, NetworkSettings, Partitions, Settings
from tests.producers.deployment import Book, did
from tests.producers.sources.lists import Lists, always, listing, rows_of
from tests.producers.sources.stand import reach_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def document(source: dict[str, Any], **sections: Any) -> Backfill:
    return parse_document({"source": source, "storage": {"type": "parquet", "path": "out"}} | sections)


def inline(count: int, **sections: Any) -> Backfill:
    return document({"type": "inline", "dids": [did(n) for n in range(count)]}, **sections)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(allow_private_hosts=True) as client:
        yield client


@pytest.fixture
async def relay() -> AsyncIterator[Lists]:
    async with listing() as lists:
        yield lists


async def survey(backfill: Backfill, folder: Path, book: Book, **more: Any) -> Found:
    reach = reach_of(folder, more.pop("client", None), relay=more.pop("relay", "http://127.0.0.1:9"))
    return await Survey(backfill, reach, book, seconds=more.pop("seconds", 20.0), **more).take()


def host_state(origin: str, **more: Any) -> HostState:
    return HostState(origin=origin, counted_since=NOW, updated_at=NOW, **more)


async def test_a_file_is_counted_and_each_account_placed_at_its_host(tmp_path: Path) -> None:
    path = tmp_path / "accounts.txt"
    path.write_text("\n".join([*(did(n) for n in range(90)), did(3), "not an account", did(4)]))
    book = Book(knows_all=True)
    backfill = document({"type": "file", "path": str(path)})
    found = await survey(backfill, tmp_path, book)
    told = Arithmetic(backfill, {}).of(found)
    assert (told.accounts, told.accounts_are, told.duplicates) == (91, "counted", 2)
    assert told.hosts_found == 3
    assert sum(host.accounts for host in told.hosts) == told.resolved == told.requests == 90
    assert (told.bytes, told.records) == (90 * MEAN_BYTES, 90 * MEAN_RECORDS)
    assert (book.asked, told.unresolvable) == ([], 1)  # what is no account is asked of nobody


async def test_hosts_of_many_accounts_are_guessed_from_a_sample_and_that_is_said(tmp_path: Path) -> None:
    book = Book(hosts=1)
    backfill = inline(1000)
    found = await survey(backfill, tmp_path, book, chance=random.Random(7))
    told = Arithmetic(backfill, {}).of(found)
    assert len(book.asked) == 200
    assert len(set(book.asked)) == 200
    assert (told.accounts, told.resolved, told.hosts_found) == (1000, 1000, 1)
    assert any("guessed from 200" in note for note in told.notes)


async def test_accounts_that_do_not_resolve_are_not_counted_as_work(tmp_path: Path) -> None:
    answers = {did(n): IdentityNotFound("there is none") for n in range(5)}
    backfill = inline(10)
    found = await survey(backfill, tmp_path, Book(answers=dict(answers)))
    told = Arithmetic(backfill, {}).of(found)
    assert (told.accounts, told.resolved, told.unresolvable) == (10, 5, 5)


async def test_a_silent_directory_leaves_figures_unknown_rather_than_zero(tmp_path: Path) -> None:
    backfill = inline(10)
    found = await survey(backfill, tmp_path, Book(gate=lambda: False), seconds=0.4)
    told = Arithmetic(backfill, {}).of(found)
    assert told.accounts == 10
    assert (told.requests, told.bytes, told.records, told.seconds) == (None, None, None, None)
    assert any("hosts are not known" in note for note in told.notes)


async def test_the_relay_tells_how_many_accounts_its_hosts_have(
    tmp_path: Path, client: Client, relay: Lists
) -> None:
    relay.rows = {
        "listHosts": [
            {"hostname": "one.example", "accountCount": 700, "status": "active"},
            {"hostname": "two.example", "accountCount": 300},
            {"hostname": "gone.example", "accountCount": 5000, "status": "offline"},
            {"hostname": "odd.example", "accountCount": "many"},
            {"hostname": "no host at all", "accountCount": 1},
            7,
        ]
    }
    for kind in ("relay", "hosts"):
        backfill = document({"type": kind})
        found = await survey(backfill, tmp_path, Book(), client=client, relay=relay.url)
        told = Arithmetic(backfill, {}).of(found)
        assert (told.accounts, told.accounts_are, told.resolved) == (1000, "listed", 1000)
        assert {host.host: host.accounts for host in told.hosts} == {
            "https://one.example": 700,
            "https://two.example": 300,
        }
    assert not relay.asked("listRepos")


async def test_a_relay_that_does_not_count_is_read_instead(
    tmp_path: Path, client: Client, relay: Lists
) -> None:
    relay.rows = {"listRepos": rows_of([did(n) for n in range(30)])}
    backfill = document({"type": "relay"})
    found = await survey(backfill, tmp_path, Book(), client=client, relay=relay.url)
    assert (len(found.accounts), found.whole, found.listed) == (30, True, 0)


async def test_what_was_not_read_to_its_end_is_at_least_so_much(
    tmp_path: Path, client: Client, relay: Lists
) -> None:
    relay.rows = {"listRepos": rows_of([did(n) for n in range(3000)])}
    ticks = iter(range(10_000))
    backfill = document({"type": "relay"})
    found = await survey(
        backfill,
        tmp_path,
        Book(knows_all=True),
        client=client,
        relay=relay.url,
        clock=lambda: next(ticks),
        seconds=4,
    )
    told = Arithmetic(backfill, {}).of(found)
    assert told.accounts_are == "at_least"
    assert 0 < told.accounts < 3000
    assert any("not read to its end" in note for note in told.notes)


async def test_a_source_that_cannot_be_read_says_why(tmp_path: Path, client: Client, relay: Lists) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        await survey(document({"type": "file", "path": str(tmp_path / "nowhere.txt")}), tmp_path, Book())
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    with pytest.raises(SourceError, match="holds no accounts"):
        await survey(document({"type": "file", "path": str(empty)}), tmp_path, Book())
    relay.misbehaviour = always(lambda: web.Response(status=500))
    with pytest.raises(SourceError, match="listRepos"):
        await survey(document({"type": "relay"}), tmp_path, Book(), client=client, relay=relay.url)


def test_the_slowest_host_decides_how_long_it_takes() -> None:
    backfill = inline(1, processing={"requests_per_second": 10})
    found = Found(whole=True)
    found.accounts = {"a"}
    found.hosts.update({"https://large.example": 6000, "https://slow.example": 3000, "https://s.example": 10})
    slow = host_state(
        "https://slow.example",
        buckets=[
            BucketState(limit=300, remaining=1, window_seconds=300, resets_at=NOW, reset_mark=0),
        ],
    )
    told = Arithmetic(backfill, {slow.origin: slow}).of(found)
    assert [(host.host, host.budget, host.seconds) for host in told.hosts] == [
        ("https://slow.example", "advertised", 3000.0),
        ("https://large.example", "document", 600.0),
        ("https://s.example", "document", 1.0),
    ]
    assert told.seconds == 3000.0
    narrow = inline(1, processing={"requests_per_second": 10, "max_concurrent_pds": 1})
    assert Arithmetic(narrow, {slow.origin: slow}).of(found).seconds == 3601.0


def test_pages_take_more_requests_than_whole_repositories() -> None:
    found = Found(whole=True)
    found.hosts.update({"https://one.example": 100})
    whole, pages = inline(1), inline(1, processing={"strategy": "list"}, record_types=["post"])
    assert Arithmetic(whole, {}).of(found).requests == 100
    assert Arithmetic(pages, {}).of(found).requests == 700


def test_a_budget_decides_only_where_it_is_the_tighter_one() -> None:
    assert pace_of(None, 10) == (10, "document")
    hidden = host_state("https://h.example", hidden=HiddenState(limit=600, longest_seconds=300))
    assert pace_of(hidden, 10) == (2, "learnt")
    assert pace_of(hidden, 1) == (1, "document")
    unknown = host_state("https://h.example", hidden=HiddenState(sent=40))
    assert pace_of(unknown, 10) == (10, "document")


async def test_a_deployment_is_asked_for_what_its_hosts_are_known_to_allow(
    kafka: str, prefix: str, tmp_path: Path, relay: Lists
) -> None:
    partitions = Partitions(dids=2, records=2, outcomes=1, deadletter=1, repos=1)
    settings = Settings(
        data_dir=tmp_path,
        kafka=KafkaSettings(bootstrap_servers=kafka, topic_prefix=prefix, partitions=partitions),
        network=NetworkSettings(relay_url=relay.url, plc_url=relay.url, allow_private_hosts=True),
    )
    create_topics(clients.admin(settings.kafka), settings.kafka)
    state = host_state("https://one.example", hidden=HiddenState(limit=300, longest_seconds=300))
    producer = clients.producer(settings.kafka)
    producer.produce(f"{prefix}hosts", state.encode(), state.origin.encode())
    assert producer.flush(30) == 0
    relay.rows = {"listHosts": [{"hostname": "one.example", "accountCount": 50}]}
    told = await estimate(settings, document({"type": "hosts"}), deadline_seconds=30)
    assert (told.accounts, told.seconds) == (50, 50.0)
    assert told.hosts[0].budget == "learnt"
