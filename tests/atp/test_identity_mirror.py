"""The resolver with a mirror: what it answers without a request, and what the directory is asked for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from atp.identity import Identity, Resolver
from atp.plc import Position
from atp.plc_writer import MirrorWriter
from atp.xrpc import Client
from messaging.instruments import ResolverMetrics
from schemas.errors import AddressForbidden, HandleMismatch, IdentityIncomplete, IdentityTombstoned
from tests.atp.builder import DID, Signer
from tests.atp.hosts import Host, serving
from tests.atp.plc_rows import TOMBSTONE, did, moved, numbered, read, update
from tests.atp.test_document import document

ALICE = Identity(DID, "alice.example", "https://pds.example", Signer().did_key)
NEW = document(
    service=[
        {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://new.example"}
    ]
)


@pytest.fixture
async def directory() -> AsyncIterator[Host]:
    """It knows one account, which has moved."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(NEW, status=200 if request.path == f"/{DID}" else 404)

    async with serving(answer) as host:
        yield host


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[MirrorWriter]:
    with MirrorWriter(tmp_path / "plc.sqlite", "https://plc.example") as mirror:
        yield mirror


def hold(mirror: MirrorWriter, operation: Any, of: str = DID) -> None:
    mirror.apply(read([numbered(operation, 1, of=of)]), Position(1, 1), caught_up=time.time())


class Told(Counter[str]):
    def resolved(self, answered_by: str) -> None:
        self[answered_by] += 1


async def test_what_the_mirror_knows_is_asked_of_nobody(directory: Host, mirror: MirrorWriter) -> None:
    hold(mirror, update())
    told = Told()
    async with Client() as client:
        resolver = Resolver(client, plc_url=directory.url, mirror=mirror, observer=told)
        assert await resolver.resolve(DID) == await resolver.resolve(DID) == ALICE
        assert directory.requests == []
        assert (await resolver.resolve(DID, fresh=True)).pds == "https://new.example"
        assert (await resolver.resolve(DID)).pds == "https://new.example", "what is fresh is worth more"
    assert told == {"mirror": 2, "request": 1, "cache": 1}
    assert len(directory.requests) == 1


async def test_what_the_mirror_does_not_know_is_asked(directory: Host, mirror: MirrorWriter) -> None:
    hold(mirror, update(), of=did(1))
    async with Client() as client:
        resolver = Resolver(client, plc_url=directory.url, mirror=mirror)
        assert (await resolver.resolve(DID)).pds == "https://new.example"


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (TOMBSTONE, IdentityTombstoned),
        (update(services={}), IdentityIncomplete),
        (moved("http://127.0.0.1:2583"), AddressForbidden),
        (moved("https://user@pds.example"), AddressForbidden),
    ],
)
async def test_an_end_is_an_answer_too(
    directory: Host, mirror: MirrorWriter, operation: Any, error: type[Exception]
) -> None:
    hold(mirror, operation)
    told = Told()
    async with Client() as client:
        resolver = Resolver(client, plc_url=directory.url, mirror=mirror, observer=told)
        with pytest.raises(error):
            await resolver.resolve(DID)
    assert (told, directory.requests) == ({"mirror": 1}, [])


async def test_private_hosts_are_the_readers_choice(directory: Host, mirror: MirrorWriter) -> None:
    hold(mirror, moved("http://127.0.0.1:2583"))
    async with Client(allow_private_hosts=True) as client:
        resolver = Resolver(client, plc_url=directory.url, mirror=mirror)
        assert (await resolver.resolve(DID)).pds == "http://127.0.0.1:2583"


async def test_a_handle_is_proven_by_the_mirror_or_else_by_the_directory(
    directory: Host, mirror: MirrorWriter
) -> None:
    async def txt(name: str) -> list[str]:
        return [f"did={DID}"]

    async with Client() as client:
        hold(mirror, update())
        resolver = Resolver(client, plc_url=directory.url, mirror=mirror, txt=txt)
        assert await resolver.resolve("alice.example") == ALICE
        assert directory.requests == []
        assert (await resolver.resolve("alice.example", fresh=True)).pds == "https://new.example"

        hold(mirror, update(alsoKnownAs=["at://older.example"]))
        resolver = Resolver(client, plc_url=directory.url, mirror=mirror, txt=txt)
        assert (await resolver.resolve("alice.example")).pds == "https://new.example"
        with pytest.raises(HandleMismatch):
            await resolver.resolve("bob.example")


async def test_what_answered_is_counted(directory: Host, mirror: MirrorWriter) -> None:
    hold(mirror, update())
    registry = CollectorRegistry()
    metrics = ResolverMetrics(registry)
    metrics.watch(mirror.age)
    async with Client() as client:
        resolver = Resolver(client, plc_url=directory.url, mirror=mirror, observer=metrics)
        await resolver.resolve(DID)
    shown = generate_latest(registry).decode()
    assert 'skyfill_resolutions_total{answered_by="mirror"} 1.0' in shown
    assert "\nskyfill_plc_mirror_age_seconds " in shown


async def test_many_are_told_at_once(directory: Host, mirror: MirrorWriter) -> None:
    rows = [
        numbered(update(), 1, of=DID),
        numbered(TOMBSTONE, 2, of=did(1)),
        numbered(update(), 3, of=did(2)),
    ]
    mirror.apply(read(rows), Position(3, 3), caught_up=time.time())
    told = Told()
    async with Client() as client:
        resolver = Resolver(client, plc_url=directory.url, mirror=mirror, observer=told)
        assert (await resolver.resolve(DID, fresh=True)).pds == "https://new.example"
        found = resolver.known([DID, did(1), did(2), did(3), "alice.example"])
    assert {name: identity.pds for name, identity in found.items()} == {
        DID: "https://new.example",  # what is fresh is worth more
        did(2): "https://pds.example",
    }
    assert told == {"request": 1, "cache": 1, "mirror": 1}
