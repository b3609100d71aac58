"""The PLC directory's log as a source: under the contract, and what it knows of each account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from atp.identity import Identity
from atp.plc import Position
from atp.plc_mirror import PlcMirror
from atp.plc_sync import PAGE as LOG_PAGE
from atp.plc_writer import MirrorWriter
from atp.xrpc import Client
from producers.sources import AccountSource, Reach
from producers.sources.plc import forget_log
from schemas.errors import AddressForbidden, IdentityTombstoned
from tests.atp.hosts import serving
from tests.atp.plc_rows import BEGAN, TOMBSTONE, line, moved, read, update
from tests.producers.deployment import did
from tests.producers.sources.contract import MANY, PAGE, SourceContract, Stand
from tests.producers.sources.stand import accounts, reach_of, read_some, refusal, source_of
from tests.producers.sources.stand import read as read_pages

DAY = 86_400.0


class Log:
    """A directory that serves /export by number, and nothing else."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self.spoilt = False
        self.asked: list[int] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.path == "/export", request.path
        after, count = int(request.query["after"]), int(request.query["count"])
        self.asked.append(after)
        if self.spoilt:
            return web.Response(text="<html>", content_type="text/html", status=503)
        return web.Response(body=b"\n".join(self.rows[after : after + min(count, LOG_PAGE)]))

    def add(self, operation: object, at: float, of: str) -> None:
        self.rows.append(line(operation, at, of=of, seq=len(self.rows) + 1, type="sequenced_op"))


class PlcStand(Stand):
    """Accounts whose first operation names a host that they have left since."""

    malformed = None
    in_order = False  # but in that of their DIDs

    def __init__(self, folder: Path, client: Client, url: str, log: Log) -> None:
        self._folder, self._client, self._url, self.log = folder, client, url, log
        self.away = AsyncExitStack()
        self.since: str | None = None

    @property
    def reach(self) -> Reach:
        reach = reach_of(self._folder, self._client)
        network = reach.settings.network.model_copy(
            update={"plc_url": self._url, "plc_requests_per_second": 10_000}
        )
        settings = reach.settings.model_copy(update={"network": network})
        return Reach(
            settings, self._client, reach.jobs, backoff=reach.backoff, relay_backoff=reach.relay_backoff
        )

    async def put(self, names: Sequence[str], malformed: int = 0) -> None:
        self.log.rows.clear()
        for number, name in enumerate(names):
            self.log.add(moved("https://old.example"), number, name)
        for _ in range(malformed):
            self.log.rows.append(
                b'{"type":"of a kind that nobody knows","seq":%d}' % (len(self.log.rows) + 1)
            )
        for number, name in enumerate(names):
            self.log.add(update(), 2 * DAY + number, name)

    async def take_away(self) -> None:
        await self.away.aclose()

    async def spoil(self) -> None:
        self.log.spoilt = True

    def source(self, page: int = PAGE) -> AccountSource:
        return source_of({"type": "plc", "since": self.since}, self.reach, page=page)


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[PlcStand]:
    log = Log()
    async with Client(allow_private_hosts=False) as client, AsyncExitStack() as away:
        host = await away.enter_async_context(serving(log.answer))
        stand = PlcStand(tmp_path, client, host.url, log)
        stand.away = away.pop_all()
        yield stand
        await stand.away.aclose()


class TestPlc(SourceContract):
    pass


async def test_each_account_is_as_its_last_operation_says(stand: PlcStand) -> None:
    await stand.put(MANY[:3])
    stand.log.add(TOMBSTONE, 3 * DAY, MANY[0])
    stand.log.add(moved("http://127.0.0.1:2583"), 3 * DAY, MANY[1])
    pages = await read_pages(stand.source().pages())
    known = {entry.account: entry.identity for page in pages for entry in page.entries}
    assert isinstance(known[MANY[0]], IdentityTombstoned)
    assert isinstance(known[MANY[1]], AddressForbidden)
    identity = known[MANY[2]]
    assert isinstance(identity, Identity)
    assert (identity.did, identity.pds) == (MANY[2], "https://pds.example")


async def test_from_a_day_on(stand: PlcStand) -> None:
    """The log before that day, and the hour before it, is not even asked for."""
    await stand.put(MANY)
    stand.log.add(update(), 10 * DAY, did(500))
    stand.log.add(moved("https://new.example"), 11 * DAY, MANY[3])
    stand.since = (BEGAN + timedelta(days=10)).date().isoformat()
    pages = await read_pages(stand.source().pages())
    assert sorted(accounts(pages)) == sorted([did(500), MANY[3]])


async def test_the_deployments_mirror_is_brought_up_to_date_and_read(stand: PlcStand) -> None:
    await stand.put(MANY)
    settings = stand.reach.settings
    with MirrorWriter(settings.plc_mirror, settings.network.plc_url) as mirror:
        seen = len(stand.log.rows)
        mirror.apply(read(stand.log.rows), Position(seen, 1))
    stand.log.add(update(), 5 * DAY, did(500))
    pages = await read_pages(stand.source().pages())
    assert sorted(accounts(pages)) == sorted([*MANY, did(500)])
    assert min(stand.log.asked) == seen
    assert not list(settings.data_dir.glob("plans/*.plc*"))
    with PlcMirror(settings.plc_mirror) as mirror:
        assert mirror.status().dids == 21


async def test_a_mirror_that_another_process_fills_is_waited_for(stand: PlcStand) -> None:
    await stand.put(MANY)
    settings = stand.reach.settings
    with MirrorWriter(settings.plc_mirror, settings.network.plc_url) as mirror:
        mirror.apply(read(stand.log.rows[:5]), Position(5, 1))
        assert "`skyfill plc status`" in await refusal(stand.source())


async def test_what_was_read_for_a_plan_goes_with_it(stand: PlcStand) -> None:
    await stand.put(MANY)
    pages = await read_some(stand.source(), 1)
    settings = stand.reach.settings
    assert list(settings.data_dir.glob("plans/*.plc*"))
    forget_log(settings, "job")
    assert not list(settings.data_dir.glob("plans/*.plc*"))
    assert "submit the job under a new id" in await refusal(stand.source(), pages[0].cursor)
