"""What a relay lists: under the contract, and when it fails, limits, repeats itself or makes no sense."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from atp.xrpc import Client
from producers.sources import AccountSource
from producers.sources.base import Entry
from producers.sources.listing import entry_of
from tests.producers.deployment import did
from tests.producers.sources.contract import MANY, PAGE, SourceContract, Stand
from tests.producers.sources.lists import Lists, always, first, listing, rows_of
from tests.producers.sources.stand import (
    accounts,
    left_out,
    reach_of,
    read,
    read_some,
    refusal,
    source_of,
)

POST, LIKE = "app.bsky.feed.post", "app.bsky.feed.like"


class RelayStand(Stand):
    """A relay with its accounts in one list, or dealt over two collections."""

    malformed = "malformed_row"
    again = False

    def __init__(self, folder: Path, client: Client, relay: Lists) -> None:
        self._folder, self._client, self.relay = folder, client, relay
        self.section: dict[str, object] = {"type": "relay"}
        self.away = AsyncExitStack()

    async def put(self, names: Sequence[str], malformed: int = 0) -> None:
        self.relay.rows = {"listRepos": rows_of(names, malformed)}

    async def take_away(self) -> None:
        await self.away.aclose()

    async def spoil(self) -> None:
        self.relay.misbehaviour = always(lambda: web.Response(text="<html>"))

    def source(self, page: int = PAGE) -> AccountSource:
        reach = reach_of(self._folder, self._client, relay=self.relay.url)
        return source_of(self.section, reach, page=page)


class CollectionStand(RelayStand):
    again = True

    def __init__(self, folder: Path, client: Client, relay: Lists) -> None:
        super().__init__(folder, client, relay)
        self.section = {"type": "collection", "collections": [POST, LIKE]}

    async def put(self, names: Sequence[str], malformed: int = 0) -> None:
        half = len(names) // 2
        self.relay.rows = {POST: rows_of(names[:half], malformed), LIKE: rows_of(names[half:])}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(allow_private_hosts=True) as client:
        yield client


@pytest.fixture
async def relay_stand(tmp_path: Path, client: Client) -> AsyncIterator[RelayStand]:
    async with AsyncExitStack() as servers:
        stand = RelayStand(tmp_path, client, await servers.enter_async_context(listing()))
        stand.away = servers
        yield stand


class TestRelay(SourceContract):
    @pytest.fixture
    def stand(self, relay_stand: RelayStand) -> RelayStand:
        return relay_stand


class TestCollection(SourceContract):
    @pytest.fixture
    def stand(self, relay_stand: RelayStand, tmp_path: Path, client: Client) -> RelayStand:
        stand = CollectionStand(tmp_path, client, relay_stand.relay)
        stand.away = relay_stand.away
        return stand

    async def test_what_lies_before_a_cursor_can_be_had_again(self, stand: Stand) -> None:
        """Of the collections that were read to their end: within one nobody is named twice."""
        await stand.put(MANY)
        pages = await read(stand.source().pages())
        half = len(MANY) // 2
        for page, wanted in ((pages[1], []), (pages[5], MANY[:half]), (pages[-1], MANY)):
            again = stand.source().again(page.cursor)
            assert again is not None
            assert accounts(await read(again)) == wanted


def limited() -> web.Response:
    return web.json_response({"error": "RateLimitExceeded"}, status=429, headers={"Retry-After": "0"})


def broken() -> web.Response:
    return web.json_response({"error": "InternalServerError"}, status=500)


@pytest.mark.parametrize("trouble", [limited, broken])
async def test_trouble_that_passes_is_waited_for(relay_stand: RelayStand, trouble: object) -> None:
    await relay_stand.put(MANY)
    relay_stand.relay.misbehaviour = first(2, trouble)  # type: ignore[arg-type]
    assert accounts(await read(relay_stand.source().pages())) == MANY


async def test_trouble_that_stays_ends_the_plan_with_what_to_do(relay_stand: RelayStand) -> None:
    await relay_stand.put(MANY)
    pages = await read_some(relay_stand.source(), 1)
    relay_stand.relay.misbehaviour = always(broken)
    told = await refusal(relay_stand.source(), pages[0].cursor)
    assert relay_stand.relay.url in told
    assert "listRepos" in told
    assert "submit the job under another id" in told
    assert len(relay_stand.relay.asked("listRepos")) >= 4


async def test_a_relay_without_the_list_is_named(relay_stand: RelayStand) -> None:
    relay_stand.relay.rows = {}
    assert "Method Not Implemented" in await refusal(relay_stand.source())


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"repos": [{"did": did(1)}], "cursor": "0"}, "its pages lead on without end"),
        ({"repos": [], "cursor": "7"}, "its pages lead on without end"),
        ({"repos": [{"did": did(1)}], "cursor": "x" * 600}, "no usable cursor"),
        ({"repos": [{"did": did(1)}], "cursor": 7}, "no usable cursor"),
        ({"repos": {}}, "no usable list `repos`"),
        ({}, "no usable list `repos`"),
        ({"repos": [{}] * 10_001}, "no usable list `repos`"),
    ],
)
async def test_answers_that_make_no_sense_end_the_plan(
    relay_stand: RelayStand, answer: dict[str, object], told: str
) -> None:
    relay_stand.relay.misbehaviour = always(lambda: web.json_response(answer))
    assert told in await refusal(relay_stand.source())
    assert len(relay_stand.relay.asked("listRepos")) <= 1 + 21


async def test_empty_pages_lead_on_but_not_for_ever(relay_stand: RelayStand) -> None:
    count = 0

    def empty(query: object) -> web.Response:
        nonlocal count
        count += 1
        return web.json_response({"repos": [], "cursor": str(count)})

    relay_stand.relay.misbehaviour = empty
    assert "lead on without end" in await refusal(relay_stand.source())
    assert count < 30
    relay_stand.relay.misbehaviour = first(3, lambda: web.json_response({"repos": [], "cursor": "0"}))
    # The same cursor again is no progress, whoever answers.
    assert "lead on without end" in await refusal(relay_stand.source())


async def test_pages_are_as_large_as_the_protocol_lets_them_be(relay_stand: RelayStand) -> None:
    await relay_stand.put(MANY)
    await read(relay_stand.source(5000).pages())
    assert relay_stand.relay.asked("listRepos")[0]["limit"] == "1000"


async def test_a_relay_of_the_document_goes_before_that_of_the_settings(
    relay_stand: RelayStand, tmp_path: Path, client: Client
) -> None:
    await relay_stand.put(MANY)
    section = {"type": "relay", "url": relay_stand.relay.url + "/"}
    source = source_of(section, reach_of(tmp_path, client, relay="http://127.0.0.1:1"))
    assert accounts(await read(source.pages())) == MANY


async def test_a_relay_of_the_document_may_not_be_private(relay_stand: RelayStand, tmp_path: Path) -> None:
    async with Client() as public:
        section = {"type": "relay", "url": relay_stand.relay.url}
        source = source_of(section, reach_of(tmp_path, public))
        assert "source.url" in await refusal(source)
        # The one of the settings is the operator's own choice.
        source = source_of({"type": "relay"}, reach_of(tmp_path, public, relay=relay_stand.relay.url))
        await relay_stand.put(MANY)
        assert accounts(await read(source.pages())) == MANY


async def test_without_a_network_that_is_said(tmp_path: Path) -> None:
    told = await refusal(source_of({"type": "relay"}, reach_of(tmp_path)))
    assert "without access to the network" in told


async def test_the_end_of_a_collection_leads_to_the_next(relay_stand: RelayStand, tmp_path: Path) -> None:
    relay = relay_stand.relay
    relay.rows = {POST: [], LIKE: rows_of(MANY[:2])}
    relay_stand.section = {"type": "collection", "collections": [POST, LIKE]}
    pages = await read(relay_stand.source().pages())
    assert [len(page.entries) for page in pages] == [0, 2]
    assert left_out(pages) == {}
    assert [query["collection"] for query in relay.asked("listReposByCollection")] == [POST, LIKE]


REV = "3jzfcijpj2z2a"


@pytest.mark.parametrize(
    ("row", "entry"),
    [
        ({"did": did(1)}, Entry(did(1))),
        ({"did": did(1), "active": True, "rev": REV}, Entry(did(1), None, REV)),
        ({"did": did(1), "rev": "yesterday"}, Entry(did(1))),
        ({"did": did(1), "rev": 7}, Entry(did(1))),
        ({"did": did(1), "active": False}, Entry(did(1), gone="RepoInactive")),
        ({"did": did(1), "active": False, "status": "takendown"}, Entry(did(1), gone="RepoTakendown")),
        ({"did": did(1), "active": False, "status": "suspended"}, Entry(did(1), gone="RepoSuspended")),
        ({"did": did(1), "active": False, "status": "deactivated"}, Entry(did(1), gone="RepoDeactivated")),
        ({"did": did(1), "active": False, "status": "deleted"}, Entry(did(1), gone="RepoInactive")),
        ({"did": did(1), "active": False, "status": ["x"]}, Entry(did(1), gone="RepoInactive")),
        # The relay's own trouble says nothing of the account's host.
        ({"did": did(1), "active": False, "status": "desynchronized"}, Entry(did(1))),
        ({"did": did(1), "active": True, "status": "throttled"}, Entry(did(1))),
    ],
)
def test_what_a_row_says(row: object, entry: Entry) -> None:
    assert entry_of(row, None) == entry
