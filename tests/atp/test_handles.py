"""Handles by DNS and web: which of the two counts, and what it means when one is silent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import dns.asyncresolver
import dns.message
import dns.rcode
import dns.rrset
import pytest
from aiohttp import web

from atp.handles import DnsTxt, lookup_handle
from atp.xrpc import Client
from schemas.errors import (
    AddressForbidden,
    HostUnknown,
    HostUnreachable,
    IdentityNotFound,
    UnexpectedResponse,
)
from tests.atp.builder import DID
from tests.atp.hosts import Names, serving, tls_for

HANDLE = "alice.example"
OTHER = "did:plc:ragtjsm2j2vknwkz3zp4oxrd"


def txt_of(*texts: str) -> Callable[[str], Awaitable[list[str]]]:
    async def txt(name: str) -> list[str]:
        assert name == f"_atproto.{HANDLE}"
        return list(texts)

    return txt


async def txt_silent(name: str) -> list[str]:
    raise HostUnreachable("DNS is silent")


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return tls_for(HANDLE, folder=tmp_path)


async def lookup(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
    txt: Callable[[str], Awaitable[list[str]]],
    body: str,
    status: int = 200,
    *,
    allow: bool = True,
) -> tuple[str, int]:
    """The DID, and how often the web server was asked."""

    async def handle(request: web.Request) -> web.StreamResponse:
        assert request.path_qs == "/.well-known/atproto-did"
        return web.Response(text=body, status=status)

    async with serving(handle, tls[0]) as host:
        names = Names({HANDLE: ("127.0.0.1", host.port)})
        async with Client(allow_private_hosts=allow, resolver=names, ssl_context=tls[1]) as client:
            return await lookup_handle(HANDLE, client, txt), len(host.requests)


async def test_dns_comes_first(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    assert await lookup(tls, txt_of(f"did={DID}"), OTHER) == (DID, 0)
    assert await lookup(tls, txt_of("other", f"did={DID}", f"did={DID}"), OTHER) == (DID, 0)


@pytest.mark.parametrize(
    "texts", [[], ["v=spf1"], ["did="], ["did=nonsense"], [f" did={DID}"], [f"DID={DID}"]]
)
async def test_the_web_counts_where_dns_names_no_did(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], texts: list[str]
) -> None:
    assert await lookup(tls, txt_of(*texts), f"{DID}\r\n") == (DID, 1)


async def test_the_web_counts_where_dns_is_silent(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    assert await lookup(tls, txt_silent, DID) == (DID, 1)


async def test_two_dids_in_dns_are_none(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with pytest.raises(IdentityNotFound, match="2 DIDs"):
        await lookup(tls, txt_of(f"did={DID}", f"did={OTHER}"), DID)


@pytest.mark.parametrize(("body", "status"), [("<html>", 200), ("", 200), (DID, 404), (f"{DID} x", 200)])
async def test_neither_names_one(tls: tuple[ssl.SSLContext, ssl.SSLContext], body: str, status: int) -> None:
    with pytest.raises(IdentityNotFound):
        await lookup(tls, txt_of(), body, status)
    with pytest.raises(HostUnreachable, match="DNS is silent"):  # it might still have named one
        await lookup(tls, txt_silent, body, status)


async def test_a_web_server_in_trouble_might_still_name_one(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    with pytest.raises(UnexpectedResponse):
        await lookup(tls, txt_of(), "", 503)


async def test_a_web_server_inside_is_refused(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with pytest.raises(AddressForbidden):
        await lookup(tls, txt_of(), DID, allow=False)


async def test_a_name_that_does_not_exist_names_nobody() -> None:
    async with Client(resolver=Names({})) as client:
        with pytest.raises(HostUnknown):
            await client.get_text(f"https://{HANDLE}/")
        with pytest.raises(IdentityNotFound):
            await lookup_handle(HANDLE, client, txt_of())


# DNS itself, by a real server on loopback


class DnsServer(asyncio.DatagramProtocol):
    """Answers every question for TXT with its records and code; with no code, not at all."""

    def __init__(self, records: list[str], code: dns.rcode.Rcode | None = dns.rcode.NOERROR) -> None:
        self.records = records
        self.code = code
        self.questions: list[str] = []

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        query = dns.message.from_wire(data)
        self.questions.append(str(query.question[0]))
        if self.code is None:
            return
        answer = dns.message.make_response(query)
        answer.set_rcode(self.code)
        if self.records:
            answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", *self.records))
        self.transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def asking(server: DnsServer, seconds: float = 10.0) -> AsyncIterator[DnsTxt]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, ("127.0.0.1", 0))
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
    try:
        yield DnsTxt(resolver, timeout=seconds)
    finally:
        transport.close()


async def test_txt_records_are_joined_from_their_parts() -> None:
    server = DnsServer(['"did=did:plc:" "ewvi7nxzyoun6zhxrhs64oiz"', '"other \\255"'])
    async with asking(server) as txt:
        assert sorted(await txt(f"_atproto.{HANDLE}")) == [f"did={DID}", "other \ufffd"]
    assert server.questions == [f"_atproto.{HANDLE}. IN TXT"]


@pytest.mark.parametrize("code", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN])
async def test_no_txt_record(code: dns.rcode.Rcode) -> None:
    async with asking(DnsServer([], code)) as txt:
        assert await txt(f"_atproto.{HANDLE}") == []


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, None])
async def test_dns_that_does_not_say(code: dns.rcode.Rcode | None) -> None:
    async with asking(DnsServer([], code), seconds=0.3) as txt:
        with pytest.raises(HostUnreachable, match="DNS does not answer"):
            await txt(f"_atproto.{HANDLE}")
