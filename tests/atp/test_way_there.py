"""Rows of docs/hosts.md whose oddity lies on the way to a host, or in how much comes: each made to happen.

The other rows are answers of the simulated network; see tests/stream_workers/test_answers.py.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from atp.blame import blame_for
from atp.xrpc import Client
from local.network.oddities import ODDITIES
from schemas.errors import XrpcError
from tests.atp.builder import DID
from tests.atp.hosts import Names, serving, tls_for

CAR = b"a repository" * 100
HOST = "pds.example"


async def whole(client: Client, url: str, limit: int = 2**20) -> bytes:
    async with client.get_repo(url, DID, limit=limit) as download:
        return b"".join([chunk async for chunk in download])


async def answer(request: web.Request) -> web.StreamResponse:
    return web.Response(body=CAR)


async def refused(folder: Path) -> bytes:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with Client(allow_private_hosts=True) as client:
        return await whole(client, f"http://127.0.0.1:{port}")


def dns(error: int) -> Callable[[Path], Awaitable[bytes]]:
    async def ask(folder: Path) -> bytes:
        async with Client(resolver=Names({HOST: error})) as client:
            return await whole(client, f"https://{HOST}")

    return ask


def tls(*names: str, days: float = 1, trusted: bool = True) -> Callable[[Path], Awaitable[bytes]]:
    async def ask(folder: Path) -> bytes:
        server, trusting = tls_for(*names, folder=folder, days=days)
        async with (
            serving(answer, server) as host,
            Client(
                allow_private_hosts=True,
                resolver=Names({HOST: ("127.0.0.1", host.port)}),
                ssl_context=trusting if trusted else None,
            ) as client,
        ):
            return await whole(client, f"https://{HOST}")

    return ask


async def ipv6_only(folder: Path) -> bytes:
    async with (
        serving(answer, address="::1") as host,
        Client(allow_private_hosts=True, resolver=Names({HOST: ("::1", host.port)})) as client,
    ):
        return await whole(client, f"http://{HOST}")


async def broken_aaaa(folder: Path) -> bytes:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        nobody = taken.getsockname()[1]
    async with serving(answer) as host:
        names = Names({HOST: [("::1", nobody), ("127.0.0.1", host.port)]})
        async with Client(allow_private_hosts=True, resolver=names) as client:
            return await whole(client, f"http://{HOST}")


async def redirect_inside(folder: Path) -> bytes:
    """From a host with a certificate to a private address, by a client that takes none for public."""

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("http://127.0.0.1:1/")

    async with serving(elsewhere) as host, Client() as client:
        answer = await client.get_json(host.url, trusted=True)  # the way to the redirect itself is allowed
        return bytes(answer.body)


async def gzip_bomb(folder: Path) -> bytes:
    async def bomb(request: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(bytes(2**24)), headers={"Content-Encoding": "gzip"})

    async with serving(bomb) as host, Client(allow_private_hosts=True) as client:
        return await whole(client, host.url, limit=2**20)


@asynccontextmanager
async def hanging_up() -> AsyncIterator[str]:
    """Answers the first request of a connection, and closes when the second one comes; other connections are
    answered to the end."""
    spoilt = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal spoilt
        while True:
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CAR) + CAR)
            await writer.drain()
            if not spoilt:
                spoilt = True
                await reader.readuntil(b"\r\n\r\n")
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def hung_up(folder: Path) -> bytes:
    async with hanging_up() as url, Client(allow_private_hosts=True) as client:
        assert await whole(client, url) == CAR
        return await whole(client, url)


WAYS: dict[str, Callable[[Path], Awaitable[bytes]]] = {
    "refused": refused,
    "NXDOMAIN": dns(socket.EAI_NONAME),
    "SERVFAIL": dns(socket.EAI_AGAIN),
    "TLS expired": tls(HOST, days=-1),
    "TLS other name": tls("other.example"),
    "TLS self-signed": tls(HOST, trusted=False),
    "IPv6 only": ipv6_only,
    "broken AAAA": broken_aaaa,
    "redirect inside": redirect_inside,
    "gzip bomb": gzip_bomb,
    "hung up": hung_up,
}


def test_every_row_of_the_table_is_made_to_happen() -> None:
    assert WAYS.keys() == {name for name, oddity in ODDITIES.items() if oddity.answer is None}


@pytest.mark.parametrize("name", WAYS)
async def test_what_comes_of_it(name: str, tmp_path: Path) -> None:
    expected = ODDITIES[name]
    if expected.error_type is None:
        assert await WAYS[name](tmp_path) == CAR
        return
    with pytest.raises(XrpcError) as raised:
        await WAYS[name](tmp_path)
    error = raised.value
    assert (error.error_type, error.reason) == (expected.error_type, expected.reason)
    assert (error.may_pass, blame_for(error)) == (expected.again, expected.about)
