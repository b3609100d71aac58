"""Hosts that list their own accounts: under the contract, and when some are away, foreign or hostile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from atp.xrpc import Client
from producers.sources import AccountSource
from tests.producers.deployment import did
from tests.producers.sources.contract import MANY, PAGE, SourceContract, Stand
from tests.producers.sources.lists import Lists, always, first, listing, rows_of
from tests.producers.sources.stand import accounts, left_out, reach_of, read, read_some, refusal, source_of

HOSTS = 4


class HostsStand(Stand):
    """A relay, and hosts that the accounts are dealt out to."""

    malformed = "malformed_row"
    in_order = False
    again = False

    def __init__(self, folder: Path, client: Client, relay: Lists, hosts: Sequence[Lists]) -> None:
        self._folder, self._client, self.relay, self.hosts = folder, client, relay, hosts
        self.section: dict[str, Any] = {"type": "hosts", "concurrency": 2}
        self.away = AsyncExitStack()

    async def put(self, names: Sequence[str], malformed: int = 0) -> None:
        for number, host in enumerate(self.hosts):
            wrong = malformed if number == 1 else 0
            host.rows = {"listRepos": rows_of(names[number :: len(self.hosts)], wrong)}
        self.relay.rows = {"listHosts": [{"hostname": host.name, "status": "active"} for host in self.hosts]}

    async def take_away(self) -> None:
        await self.away.aclose()

    async def spoil(self) -> None:
        self.relay.misbehaviour = always(lambda: web.Response(text="<html>"))

    def source(self, page: int = PAGE, **sections: Any) -> AccountSource:
        reach = reach_of(self._folder, self._client, relay=self.relay.url)
        return source_of(self.section, reach, page=page, **sections)

    def host_of(self, name: str) -> str:
        return self.hosts[MANY.index(name) % len(self.hosts)].url


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[HostsStand]:
    async with Client(allow_private_hosts=True) as client, AsyncExitStack() as servers:
        relay, *hosts = [await servers.enter_async_context(listing()) for _ in range(HOSTS + 1)]
        stand = HostsStand(tmp_path, client, relay, hosts)
        stand.away = servers
        yield stand


class TestHosts(SourceContract):
    pass


async def test_each_row_carries_its_host_and_what_that_says(stand: HostsStand) -> None:
    await stand.put(MANY)
    stand.hosts[0].rows = {
        "listRepos": [
            {"did": did(0), "rev": "3jzfcijpj2z2a", "active": True},
            {"did": did(4), "active": False, "status": "takendown"},
        ]
    }
    pages = await read(stand.source().pages())
    entries = {entry.account: entry for page in pages for entry in page.entries}
    assert all(entry.host == stand.host_of(entry.account) for entry in entries.values())
    assert (entries[did(0)].rev, entries[did(4)].gone) == ("3jzfcijpj2z2a", "RepoTakendown")


async def test_banned_and_offline_hosts_are_not_asked(stand: HostsStand) -> None:
    await stand.put(MANY)
    statuses = ["banned", "offline", "throttled", "idle"]
    stand.relay.rows = {
        "listHosts": [
            {"hostname": host.name, "status": status}
            for host, status in zip(stand.hosts, statuses, strict=True)
        ]
    }
    pages = await read(stand.source().pages())
    assert stand.same(accounts(pages), [*MANY[2::4], *MANY[3::4]])
    assert left_out(pages) == {"host_banned": 1, "host_offline": 1}
    assert not stand.hosts[0].host.requests
    assert not stand.hosts[1].host.requests


async def test_a_host_that_is_away_costs_its_own_accounts_and_a_note(stand: HostsStand) -> None:
    await stand.put(MANY)
    stand.hosts[2].misbehaviour = always(lambda: web.Response(status=502))
    pages = await read(stand.source().pages())
    assert stand.same(accounts(pages), [name for number, name in enumerate(MANY) if number % 4 != 2])
    assert left_out(pages) == {"host_unreachable": 1}
    notes = [note for page in pages for note in page.notes]
    assert len(notes) == 1
    assert stand.hosts[2].url in notes[0]
    assert len(stand.hosts[2].host.requests) == 3


async def test_a_host_that_breaks_off_keeps_what_it_gave(stand: HostsStand) -> None:
    await stand.put(MANY)
    stand.hosts[1].misbehaviour = lambda query: web.Response(status=500) if "cursor" in query else None
    pages = await read(stand.source().pages())
    assert stand.same(accounts(pages), [n for n in MANY if n not in MANY[1::4][PAGE:]])
    assert left_out(pages) == {"host_unreachable": 1}


async def test_trouble_of_a_host_that_passes_costs_nothing(stand: HostsStand) -> None:
    await stand.put(MANY)
    stand.hosts[0].misbehaviour = first(2, lambda: web.Response(status=503))
    pages = await read(stand.source().pages())
    assert stand.same(accounts(pages), MANY)
    assert left_out(pages) == {}


@pytest.mark.parametrize(
    "row", [{"hostname": "a b"}, {"hostname": ""}, {"hostname": 7}, {}, None, {"hostname": "x" * 300}]
)
async def test_a_row_that_names_no_host_is_counted(stand: HostsStand, row: object) -> None:
    await stand.put(MANY)
    stand.relay.rows = {"listHosts": [row, *stand.relay.rows["listHosts"]]}
    pages = await read(stand.source().pages())
    assert stand.same(accounts(pages), MANY)
    assert left_out(pages) == {"host_malformed": 1}


async def test_a_private_host_is_not_asked(stand: HostsStand, tmp_path: Path) -> None:
    await stand.put(MANY)
    async with Client() as public:
        source = source_of(stand.section, reach_of(tmp_path, public, relay=stand.relay.url))
        assert "holds no accounts" in await refusal(source)
    assert not any(host.host.requests for host in stand.hosts)


async def test_a_host_listed_twice_at_once_is_asked_once(stand: HostsStand) -> None:
    await stand.put(MANY)
    rows = list(stand.relay.rows["listHosts"])
    stand.relay.rows = {"listHosts": [rows[0], rows[0], *rows[1:]]}
    assert stand.same(accounts(await read(stand.source().pages())), MANY)


async def test_a_host_that_makes_accounts_up_is_stopped(stand: HostsStand) -> None:
    await stand.put(MANY)
    stand.relay.rows = {"listHosts": [{"hostname": stand.hosts[0].name, "accountCount": 0}]}
    made_up = 0

    def endless(query: object) -> web.Response:
        nonlocal made_up
        made_up += 10_000
        names = [f"did:plc:{number:024}" for number in range(made_up, made_up + 10_000)]
        return web.json_response({"repos": [{"did": name} for name in names], "cursor": str(made_up)})

    stand.hosts[0].misbehaviour = endless
    pages = await read(stand.source().pages())
    assert len(accounts(pages)) == 100_000
    assert left_out(pages) == {"host_unreachable": 1}
    assert "far more than the relay knows of" in pages[-1].notes[0]


async def test_hosts_outside_the_scope_are_not_asked(stand: HostsStand) -> None:
    await stand.put(MANY)
    scope = {"deny": {"hosts": [stand.hosts[0].name]}, "allow": {"domains": ["127.0.0.1"]}}
    pages = await read(stand.source(scope=scope).pages())
    assert stand.same(accounts(pages), [n for n in MANY if n not in MANY[0::4]])
    assert left_out(pages) == {"host_out_of_scope": 1}
    assert not stand.hosts[0].host.requests


async def test_many_hosts_over_several_pages_of_the_relay(stand: HostsStand, monkeypatch: Any) -> None:
    monkeypatch.setattr("producers.sources.hosts._HOSTS_PAGE", 3)
    await stand.put(MANY)
    pages = await read(stand.source().pages())
    assert stand.same(accounts(pages), MANY)
    assert len(stand.relay.asked("listHosts")) == 2
    for at, page in enumerate(pages, 1):
        rest = await read(stand.source().pages(page.cursor))
        assert stand.same(accounts(pages[:at] + rest), MANY)


async def test_a_relay_that_fails_midway_ends_the_plan(stand: HostsStand, monkeypatch: Any) -> None:
    monkeypatch.setattr("producers.sources.hosts._HOSTS_PAGE", 3)
    await stand.put(MANY)
    stand.relay.misbehaviour = lambda query: web.Response(status=500) if "cursor" in query else None
    assert "listHosts" in await refusal(stand.source())


async def test_no_more_hosts_are_open_than_wanted_and_their_places_are_kept(stand: HostsStand) -> None:
    await stand.put(MANY)
    pages = await read(stand.source().pages())
    opened = [orjson.loads(page.cursor)["open"] for page in pages]
    assert max(map(len, opened)) == 2
    assert opened[-1] == []


async def test_a_host_that_vanishes_between_two_starts_is_no_obstacle(
    stand: HostsStand,
) -> None:
    """What is listed again is noticed by whoever plans; nothing is left out."""
    await stand.put(MANY)
    pages = await read_some(stand.source(), 5)
    _, last, _ = orjson.loads(pages[-1].cursor)["relay"]
    rows = [row for row in stand.relay.rows["listHosts"] if row["hostname"] != last]
    stand.relay.rows = {"listHosts": rows}
    rest = await read(stand.source().pages(pages[-1].cursor))
    assert set(accounts(pages) + accounts(rest)) == set(MANY)
