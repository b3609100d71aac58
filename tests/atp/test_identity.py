"""From a DID or handle to an account, over real HTTP: directory, did:web, handles, cache."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from atp.identity import Identity, Resolver
from atp.limiter import HostLimiter
from atp.retry import Backoff
from atp.xrpc import Client
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
from tests.atp.builder import DID, Signer
from tests.atp.hosts import Host, Names, serving, tls_for
from tests.atp.test_document import document

OTHER = "did:plc:ragtjsm2j2vknwkz3zp4oxrd"
ALICE = Identity(DID, "alice.example", "https://pds.example", Signer().did_key)


class Directory(Host):
    """Answers by path, and can be made to wait, or to fail first."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Any] = {f"/{DID}": document()}
        self.failures: list[web.Response] = []
        self.open = asyncio.Event()
        self.open.set()
        self.arrived = asyncio.Semaphore(0)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.arrived.release()
        await self.open.wait()
        if self.failures:
            return self.failures.pop(0)
        answer = self.answers.get(request.path_qs, 404)
        if isinstance(answer, int):
            return web.json_response({"message": "words"}, status=answer)
        return web.Response(text=answer) if isinstance(answer, str) else web.json_response(answer)


@pytest.fixture
async def directory() -> AsyncIterator[Directory]:
    directory = Directory()
    async with serving(directory.handle) as running:
        directory.url, directory.requests = running.url, running.requests
        yield directory
        directory.open.set()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def no_txt(name: str) -> list[str]:
    return []


async def at_once(seconds: float) -> None:
    """Sleep for no time."""


def impatient() -> HostLimiter:
    """A limiter whose pauses are over at once."""
    now = 1_800_000_000.0

    async def skip(seconds: float) -> None:
        nonlocal now
        now += seconds
        await asyncio.sleep(0)

    return HostLimiter(lambda: now, skip)


def resolver(directory: Host, client: Client | None = None, **more: Any) -> Resolver:
    client = client or Client(resolver=Names({}))
    usual = {"txt": no_txt, "backoff": Backoff(sleep=at_once), "limiter": impatient()}
    return Resolver(client, plc_url=directory.url, **{**usual, **more})


# did:plc


async def test_a_did_of_the_directory(directory: Directory) -> None:
    async with Client() as client:
        assert await resolver(directory, client).resolve(DID) == ALICE
    assert directory.paths == [f"/{DID}"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (404, IdentityNotFound),
        (410, IdentityTombstoned),
        (400, IdentityUnreachable),
        (500, IdentityUnreachable),
        (429, IdentityUnreachable),
        ("<html>", IdentityIncomplete),
        ([], IdentityIncomplete),
        ({}, IdentityIncomplete),
        (document(id=OTHER), IdentityIncomplete),
        (document(service=[]), IdentityIncomplete),
    ],
)
async def test_a_did_that_leads_to_no_account(
    directory: Directory, answer: Any, error: type[SkyfillError]
) -> None:
    directory.answers[f"/{DID}"] = answer
    async with Client() as client:
        with pytest.raises(error):
            await resolver(directory, client).resolve(DID)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_directory_that_recovers(directory: Directory, status: int) -> None:
    directory.failures = [web.Response(status=status), web.Response(status=status)]
    async with Client() as client:
        assert await resolver(directory, client).resolve(DID) == ALICE
    assert len(directory.paths) == 3


async def test_a_directory_that_is_down(directory: Directory) -> None:
    directory.url = "http://127.0.0.1:1"
    async with Client() as client:
        with pytest.raises(IdentityUnreachable):
            await resolver(directory, client).resolve(DID)


async def test_a_document_that_leads_inside(directory: Directory) -> None:
    inside = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": directory.url}
    directory.answers[f"/{DID}"] = document(service=[inside])
    async with Client() as client:
        with pytest.raises(AddressForbidden):
            await resolver(directory, client).resolve(DID)
    async with Client(allow_private_hosts=True) as client:
        assert (await resolver(directory, client).resolve(DID)).pds == directory.url


@pytest.mark.parametrize(
    "name",
    [
        "",
        "alice",
        "alice@example.com",
        "did:plc:",
        "did:plc:short",
        f"{DID}x",
        f"{DID}/../x",
        "did:plc:EWVI7NXZYOUN6ZHXRHS64OIZ",
        "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
        "did:web:",
        "did:web:localhost",
        "did:web:localhost%3A8080",
        "did:web:example",
        "did:web:pds.example%3A8080",
        "did:web:pds.example:path",
        "did:web:pds.example%2Fpath",
        "did:web:127.0.0.1",
        "did:web:10.0.0.1",
        "did:web:user@pds.example",
    ],
)
async def test_what_is_neither_did_nor_handle(directory: Directory, name: str) -> None:
    async with Client() as client:
        with pytest.raises(IdentifierInvalid):
            await resolver(directory, client).resolve(name)
    assert directory.requests == []


# did:web


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return tls_for("alice.example", folder=tmp_path)


async def web_client(port: int, context: ssl.SSLContext, *, allow: bool = True) -> Client:
    names = Names({"alice.example": ("127.0.0.1", port)})
    return Client(allow_private_hosts=allow, resolver=names, ssl_context=context, timeout=5.0)


async def test_a_did_of_a_web_server(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    directory, did = Directory(), "did:web:alice.example"
    key = {"id": "#atproto", "type": "Multikey", "publicKeyMultibase": Signer().multikey}
    directory.answers["/.well-known/did.json"] = document(id=did, verificationMethod=[key])
    async with serving(directory.handle, tls[0]) as host, await web_client(host.port, tls[1]) as client:
        assert await resolver(directory, client).resolve(did) == ALICE._replace(did=did)
        directory.answers.clear()
        with pytest.raises(IdentityNotFound):
            await resolver(directory, client).resolve(did)


async def test_a_did_of_a_web_server_inside_is_refused(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    directory = Directory()
    async with serving(directory.handle, tls[0]) as host:
        async with await web_client(host.port, tls[1], allow=False) as client:
            with pytest.raises(AddressForbidden):
                await resolver(directory, client).resolve("did:web:alice.example")
        assert host.requests == []


async def test_a_did_of_localhost_is_for_private_networks(directory: Directory) -> None:
    port = directory.url.rpartition(":")[2]
    did = f"did:web:localhost%3A{port}"
    key = {"id": "#atproto", "type": "Multikey", "publicKeyMultibase": Signer().multikey}
    directory.answers["/.well-known/did.json"] = document(id=did, verificationMethod=[key])
    async with Client(allow_private_hosts=True) as client:
        assert (await resolver(directory, client).resolve(did)).did == did


# Handles


async def test_a_handle_by_dns(directory: Directory) -> None:
    asked: list[str] = []

    async def txt(name: str) -> list[str]:
        asked.append(name)
        return ["v=spf1 -all", f"did={DID}"]

    async with Client() as client:
        resolving = resolver(directory, client, txt=txt)
        assert await resolving.resolve("Alice.Example") == ALICE
        assert await resolving.resolve(DID) == ALICE
    assert asked == ["_atproto.alice.example"]
    assert directory.paths == [f"/{DID}"]


async def test_a_handle_by_its_web_server(
    directory: Directory, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    web_server = Directory()
    web_server.answers["/.well-known/atproto-did"] = f" {DID}\n"
    async with serving(web_server.handle, tls[0]) as host, await web_client(host.port, tls[1]) as client:
        assert await resolver(directory, client).resolve("alice.example") == ALICE


async def test_a_handle_by_a_host_of_the_operators(directory: Directory) -> None:
    path = "/xrpc/com.atproto.identity.resolveHandle?handle="
    directory.answers[f"{path}alice.example"] = {"did": DID}
    directory.answers[f"{path}bob.example"] = 400
    directory.answers[f"{path}carol.example"] = {"did": "nonsense"}
    async with Client() as client:
        resolving = resolver(directory, client, handle_host=directory.url)
        assert await resolving.resolve("alice.example") == ALICE
        with pytest.raises(IdentityNotFound):
            await resolving.resolve("bob.example")
        with pytest.raises(IdentifierInvalid):
            await resolving.resolve("carol.example")


@pytest.mark.parametrize("names", [[], ["at://bob.example"], ["at://bob.example", "at://alice.example"]])
async def test_a_handle_that_its_account_does_not_name(directory: Directory, names: list[str]) -> None:
    async def txt(name: str) -> list[str]:
        return [f"did={DID}"]

    directory.answers[f"/{DID}"] = document(alsoKnownAs=names)
    async with Client() as client:
        with pytest.raises(HandleMismatch):
            await resolver(directory, client, txt=txt).resolve("alice.example")


async def test_a_handle_that_names_nobody(directory: Directory) -> None:
    async with Client(resolver=Names({})) as client:
        with pytest.raises(IdentityNotFound):
            await resolver(directory, client).resolve("alice.example")


# Cache


async def test_an_account_is_remembered_for_a_time(directory: Directory) -> None:
    clock = Clock()
    async with Client() as client:
        resolving = resolver(directory, client, ttl=60.0, clock=clock)
        for now, requests in [(0.0, 1), (59.9, 1), (60.0, 2), (119.9, 2)]:
            clock.now = now
            assert await resolving.resolve(DID) == ALICE
            assert len(directory.requests) == requests


async def test_fresh_passes_the_cache_and_renews_it(directory: Directory) -> None:
    moved = [
        {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://new.example"}
    ]
    async with Client() as client:
        resolving = resolver(directory, client)
        await resolving.resolve(DID)
        directory.answers[f"/{DID}"] = document(service=moved)
        assert (await resolving.resolve(DID)).pds == "https://pds.example"
        assert (await resolving.resolve(DID, fresh=True)).pds == "https://new.example"
        assert (await resolving.resolve(DID)).pds == "https://new.example"
    assert len(directory.requests) == 2


async def test_the_cache_forgets_who_was_not_asked_for_longest(directory: Directory) -> None:
    dids = [f"did:plc:{letter * 24}" for letter in "abc"]
    for did in dids:
        key = {"id": "#atproto", "type": "Multikey", "publicKeyMultibase": Signer().multikey}
        directory.answers[f"/{did}"] = document(id=did, verificationMethod=[key])
    async with Client() as client:
        resolving = resolver(directory, client, cache_size=2)
        for index in (0, 1, 0, 2, 0, 1):
            await resolving.resolve(dids[index])
    assert [path[-1] for path in directory.paths] == ["a", "b", "c", "b"]


async def test_what_is_known_needs_no_asking(directory: Directory) -> None:
    directory.answers[f"/{DID}"] = document()
    async with Client() as client:
        resolving = resolver(directory, client)
        assert resolving.known([DID]) == {}
        found = await resolving.resolve(DID)
        assert resolving.known(["did:plc:" + "z" * 24, DID]) == {DID: found}
    assert len(directory.requests) == 1


async def test_an_error_is_not_remembered(directory: Directory) -> None:
    directory.answers[f"/{DID}"] = 404
    async with Client() as client:
        resolving = resolver(directory, client)
        with pytest.raises(IdentityNotFound):
            await resolving.resolve(DID)
        directory.answers[f"/{DID}"] = document()
        assert await resolving.resolve(DID) == ALICE


async def test_who_asks_at_the_same_time_shares_one_request(directory: Directory) -> None:
    directory.open.clear()
    async with Client() as client:
        resolving = resolver(directory, client)
        asking = [asyncio.create_task(resolving.resolve(DID)) for _ in range(10)]
        await directory.arrived.acquire()
        asking[0].cancel()  # who gives up does not take the others along
        directory.open.set()
        answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [ALICE] * 9
    assert len(directory.requests) == 1


async def test_what_nobody_waits_for_any_more_is_broken_off(directory: Directory) -> None:
    directory.open.clear()
    async with Client() as client:
        resolving = resolver(directory, client)
        asking = [asyncio.create_task(resolving.resolve(DID)) for _ in range(2)]
        await directory.arrived.acquire()
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        later = asyncio.create_task(resolving.resolve(DID))  # does not join what is being broken off
        await directory.arrived.acquire()
        directory.open.set()
        assert await later == ALICE
    assert len(directory.requests) == 2


async def test_fresh_does_not_share_a_request_that_is_already_under_way(directory: Directory) -> None:
    directory.open.clear()
    async with Client() as client:
        resolving = resolver(directory, client)
        early = asyncio.create_task(resolving.resolve(DID))
        await directory.arrived.acquire()
        late = asyncio.create_task(resolving.resolve(DID, fresh=True))
        await directory.arrived.acquire()
        directory.open.set()
        assert [await early, await late] == [ALICE, ALICE]


async def test_only_so_many_at_once(directory: Directory) -> None:
    dids = [f"did:plc:{letter * 24}" for letter in "abcdef"]
    directory.open.clear()
    async with Client() as client:
        resolving = resolver(directory, client, concurrency=2)
        asking = [asyncio.create_task(resolving.resolve(did)) for did in dids]
        await directory.arrived.acquire()
        await directory.arrived.acquire()
        await asyncio.sleep(0.05)  # time for a third, were it let in
        assert len(directory.requests) == 2
        directory.open.set()
        answers = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(answer) for answer in answers} == {IdentityNotFound}
