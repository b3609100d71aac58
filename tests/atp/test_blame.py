"""Whom an answer is about: real answers from real sockets, and what is said of each."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from atp.blame import Blame, blame_for, never_connected
from atp.xrpc import Client
from schemas.errors import XrpcError
from tests.atp.hosts import serving, serving_bytes

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
PAGE = "<!DOCTYPE html><title>Just a moment...</title>"


class NoSuchName(AbstractResolver):
    """DNS without an answer."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def close(self) -> None:
        pass


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(allow_private_hosts=True, timeout=0.3, connect_timeout=0.3) as client:
        yield client


async def error_of(client: Client, url: str, *, repo: bool) -> XrpcError:
    with pytest.raises(XrpcError) as caught:
        await ask(client, url, repo=repo)
    return caught.value


async def ask(client: Client, url: str, *, repo: bool) -> None:
    if not repo:
        await client.get_latest_commit(url, DID)
        return
    async with client.get_repo(url, DID) as download:
        async for _ in download:
            pass


ANSWERS: list[tuple[int, str, str, Blame]] = [
    (400, "application/json", '{"error":"RepoNotFound","message":"no"}', "account"),
    (400, "application/json", '{"error":"RepoTakendown","message":"no"}', "account"),
    (400, "application/json", '{"error":"InvalidRequest","message":"no"}', "account"),
    (401, "application/json", '{"error":"AuthMissing","message":"no"}', "account"),
    (500, "application/json", '{"error":"InternalServerError","message":"no"}', "account"),
    (501, "application/json", '{"error":"MethodNotImplemented","message":"no"}', "account"),
    (429, "application/json", '{"error":"RateLimitExceeded","message":"no"}', "pace"),
    (429, "text/html", PAGE, "pace"),
    (502, "application/json", '{"error":"UpstreamFailure","message":"no"}', "host"),
    (503, "text/html", PAGE, "host"),
    (504, "text/plain", "", "host"),
    (522, "text/html", PAGE, "host"),
    (530, "text/plain", "error code: 1033", "host"),
    (200, "text/html", PAGE, "host"),
    (200, "application/octet-stream", "", "host"),
    (403, "text/html", PAGE, "host"),
    (404, "text/plain", "not found", "host"),
    (500, "text/html", PAGE, "host"),
    (404, "application/json", "[]", "host"),
]


@pytest.mark.parametrize("repo", [True, False])
@pytest.mark.parametrize(("status", "kind", "body", "blame"), ANSWERS)
async def test_an_answer(client: Client, status: int, kind: str, body: str, blame: Blame, repo: bool) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type=kind)

    async with serving(handle) as host:
        error = await error_of(client, host.url, repo=repo)
    assert blame_for(error) == blame
    assert not never_connected(error)
    assert error.headers is not None


@pytest.mark.parametrize("repo", [True, False])
async def test_redirects_without_an_end(client: Client, repo: bool) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": str(request.url)})

    async with serving(handle) as host:
        assert blame_for(await error_of(client, host.url, repo=repo)) == "host"


@pytest.mark.parametrize("repo", [True, False])
async def test_what_is_no_http(client: Client, repo: bool) -> None:
    async with serving_bytes(b"SSH-2.0-OpenSSH_9.6\r\n") as url:
        assert blame_for(await error_of(client, url, repo=repo)) == "host"


@pytest.mark.parametrize("repo", [True, False])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nhalf of it"])
@pytest.mark.parametrize("stall", [True, False])
async def test_silence_and_hanging_up(client: Client, said: bytes, stall: bool, repo: bool) -> None:
    async with serving_bytes(said, stall=stall) as url:
        error = await error_of(client, url, repo=repo)
    assert blame_for(error) == "host"
    assert not never_connected(error)


async def test_no_connection(client: Client) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        refused = await error_of(client, url, repo=True)
        reserved.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(reserved.getsockname())
        silent = await error_of(client, url, repo=True)
        for filler in fillers:
            filler.close()
    async with Client(allow_private_hosts=True, resolver=NoSuchName()) as lost:
        unknown = await error_of(lost, "http://gone.test", repo=True)
    async with serving(lambda _: asyncio.sleep(0, web.Response())) as host:
        no_tls = await error_of(client, host.url.replace("http:", "https:"), repo=True)
    for error in (refused, silent, unknown, no_tls):
        assert (blame_for(error), never_connected(error)) == ("host", True), error
    assert [error.error_type for error in (refused, silent)] == ["network_error", "timeout_error"]


async def test_our_own_rules() -> None:
    async with Client() as strict:
        assert blame_for(await error_of(strict, "https://10.0.0.1", repo=True)) == "rules"
