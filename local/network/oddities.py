"""Odd answers, as hosts on the open network give them, byte for byte as they stand on the wire.

One table: what is answered, and what a client has to make of it. The tests hold the fetch worker against it,
and docs/hosts.md is generated from it.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

from atp.blame import Blame
from schemas.errors import ErrorType

_PAGE = b"<!DOCTYPE html><html><head><title>Hello</title></head><body>This domain is for sale.</body></html>"
_HTML = "text/html; charset=utf-8"
_JSON = "application/json; charset=utf-8"
_CAR = "application/vnd.ipld.car"
_PIECE = b"\0" * 65_536
_TRICKLE_SECONDS = 1.0

Wire = AsyncIterator[bytes]
"""What is written to the connection, piece by piece; then it is closed."""


class Ask(NamedTuple):
    """A request that gets an odd answer."""

    path: str
    body: bytes
    """What an honest answer would hold."""


class Oddity(NamedTuple):
    """An odd answer, and what follows for the account's task."""

    says: str
    """For the documents."""
    error_type: ErrorType | None
    """None: it is fetched all the same."""
    reason: str | None
    again: bool
    """Whether another attempt follows."""
    about: Blame
    answer: Callable[[Ask], Wire] | None = None
    """None where the oddity lies in reaching the host, so that there is no answer."""


async def _plain(status: str, kind: str, body: bytes) -> Wire:
    yield (
        _head(status, {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}) + body
    )


def _head(status: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def _page(status: str) -> Callable[[Ask], Wire]:
    return lambda ask: _plain(status, _HTML, _PAGE)


def _error(status: str, name: str) -> Callable[[Ask], Wire]:
    return lambda ask: _plain(
        status, _JSON, b'{"error":"%s","message":"%s"}' % (name.encode(), name.encode())
    )


def _redirect_once(ask: Ask) -> Wire:
    return _good(ask) if "again=1" in ask.path else _to(f"{ask.path}&again=1")


def _to(location: str) -> Wire:
    async def wire() -> Wire:
        yield _head("302 Found", {"Location": location, "Content-Length": "0", "Connection": "close"})

    return wire()


async def _good(ask: Ask) -> Wire:
    yield _head("200 OK", {"Content-Type": _CAR, "Content-Length": str(len(ask.body))}) + ask.body


async def _zipped(ask: Ask) -> Wire:
    body = gzip.compress(ask.body)
    headers = {"Content-Type": _CAR, "Content-Encoding": "gzip", "Content-Length": str(len(body))}
    yield _head("200 OK", headers) + body


async def _length(ask: Ask, length: int) -> Wire:
    yield _head("200 OK", {"Content-Type": _CAR, "Content-Length": str(length)}) + ask.body


async def _cut_in_a_chunk(ask: Ask) -> Wire:
    yield _head("200 OK", {"Content-Type": _CAR, "Transfer-Encoding": "chunked"})
    yield b"%x\r\n" % len(ask.body) + ask.body[: len(ask.body) // 2]


async def _trickle(ask: Ask) -> Wire:
    yield _head("200 OK", {"Content-Type": _CAR, "Content-Length": str(len(ask.body))})
    for byte in ask.body:
        yield bytes([byte])
        await asyncio.sleep(_TRICKLE_SECONDS)


async def _stall(ask: Ask, after: bytes) -> Wire:
    yield after
    await asyncio.Event().wait()


async def _endless(ask: Ask) -> Wire:
    yield _head("200 OK", {"Content-Type": _CAR, "Transfer-Encoding": "chunked"})
    while True:
        yield b"%x\r\n" % len(_PIECE) + _PIECE + b"\r\n"
        await asyncio.sleep(0.001)  # 64 MB a second are enough to show it


async def _raw(answer: bytes) -> Wire:
    yield answer


def _half(ask: Ask) -> bytes:
    half = ask.body[: len(ask.body) // 2]
    return _head("200 OK", {"Content-Type": _CAR, "Content-Length": str(len(ask.body))}) + half


_GOAWAY = bytes.fromhex("000006040000000000000300000064 0000080700000000000000000000000001")

ODDITIES: Mapping[str, Oddity] = {
    # Answers that are none of the protocol
    "200 page": Oddity(
        "200 with an HTML page, as of a parked domain",
        "fetch_failed",
        "NotAtproto",
        True,
        "host",
        _page("200 OK"),
    ),
    "200 empty": Oddity(
        "200 with an empty body",
        "fetch_failed",
        "NotAtproto",
        True,
        "host",
        lambda ask: _plain("200 OK", _CAR, b""),
    ),
    "200 error": Oddity(
        "200 with an error as JSON",
        "fetch_failed",
        "NotAtproto",
        True,
        "host",
        _error("200 OK", "InternalServerError"),
    ),
    "400 page": Oddity(
        "400 with an HTML page", "fetch_failed", "NotAtproto", True, "host", _page("400 Bad Request")
    ),
    "403 page": Oddity(
        "403 with a challenge page", "fetch_failed", "NotAtproto", True, "host", _page("403 Forbidden")
    ),
    "404 page": Oddity(
        "404 with an HTML page", "fetch_failed", "NotAtproto", True, "host", _page("404 Not Found")
    ),
    "404 JSON": Oddity(
        "404 with JSON that is no XRPC error",
        "fetch_failed",
        "NotAtproto",
        True,
        "host",
        lambda ask: _plain("404 Not Found", _JSON, b'{"detail":"Not Found"}'),
    ),
    "500 page": Oddity(
        "500 with an HTML page",
        "fetch_failed",
        "NotAtproto",
        True,
        "host",
        _page("500 Internal Server Error"),
    ),
    "502 page": Oddity(
        "502 with an HTML page", "fetch_failed", "NotAtproto", True, "host", _page("502 Bad Gateway")
    ),
    "503 page": Oddity(
        "503 with an HTML page", "fetch_failed", "NotAtproto", True, "host", _page("503 Service Unavailable")
    ),
    "504 page": Oddity(
        "504 with an HTML page", "fetch_failed", "NotAtproto", True, "host", _page("504 Gateway Timeout")
    ),
    "522 page": Oddity(
        "52x, a proxy that does not reach its origin",
        "fetch_failed",
        "NotAtproto",
        True,
        "host",
        _page("522 <none>"),
    ),
    "429 page": Oddity(
        "429 with a proxy's page: waited for, without an attempt spent",
        "rate_limit_error",
        "RateLimited",
        True,
        "pace",
        _page("429 Too Many Requests"),
    ),
    "not HTTP": Oddity(
        "Another protocol",
        "fetch_failed",
        "NotAtproto",
        True,
        "host",
        lambda ask: _raw(b"220 mail.example ESMTP\r\n\r\n"),
    ),
    "HTTP/2 only": Oddity(
        "HTTP/2 without HTTP/1.1", "fetch_failed", "NotAtproto", True, "host", lambda ask: _raw(_GOAWAY)
    ),
    # XRPC errors
    "401": Oddity(
        "401 AuthRequired",
        "fetch_failed",
        "UnexpectedResponse",
        False,
        "account",
        _error("401 Unauthorized", "AuthRequired"),
    ),
    "500": Oddity(
        "500 InternalServerError",
        "fetch_failed",
        "UnexpectedResponse",
        True,
        "account",
        _error("500 Internal Server Error", "InternalServerError"),
    ),
    "501": Oddity(
        "501 MethodNotImplemented",
        "fetch_failed",
        "UnexpectedResponse",
        False,
        "account",
        _error("501 Not Implemented", "MethodNotImplemented"),
    ),
    "502": Oddity(
        "502 UpstreamFailure",
        "fetch_failed",
        "UnexpectedResponse",
        True,
        "host",
        _error("502 Bad Gateway", "UpstreamFailure"),
    ),
    "503": Oddity(
        "503 NotEnoughResources",
        "fetch_failed",
        "UnexpectedResponse",
        True,
        "host",
        _error("503 Service Unavailable", "NotEnoughResources"),
    ),
    "504": Oddity(
        "504 UpstreamTimeout",
        "fetch_failed",
        "UnexpectedResponse",
        True,
        "host",
        _error("504 Gateway Timeout", "UpstreamTimeout"),
    ),
    # Redirects
    "redirect": Oddity("A redirect to the same host", None, None, False, "host", _redirect_once),
    "redirect loop": Oddity(
        "A redirect to itself", "fetch_failed", "NotAtproto", True, "host", lambda ask: _to(ask.path)
    ),
    "redirect to nothing": Oddity(
        "A redirect to what is no URL",
        "fetch_failed",
        "NotAtproto",
        True,
        "host",
        lambda ask: _to("http://["),
    ),
    "redirect inside": Oddity(
        "A redirect to a private address or to plain http",
        "scope_violation",
        "AddressForbidden",
        False,
        "rules",
    ),
    # On the way
    "hung up": Oddity(
        "A kept connection closed when the next request comes: asked again at once", None, None, False, "host"
    ),
    "cut": Oddity(
        "A connection closed in the middle of a chunk",
        "network_error",
        "HostUnreachable",
        True,
        "host",
        _cut_in_a_chunk,
    ),
    "length too long": Oddity(
        "Content-Length beyond the body's end",
        "network_error",
        "HostUnreachable",
        True,
        "host",
        lambda ask: _length(ask, len(ask.body) + 100),
    ),
    "length too short": Oddity(
        "Content-Length before the body's end",
        "fetch_failed",
        "NotAtproto",
        True,
        "host",
        lambda ask: _length(ask, len(ask.body) - 100),
    ),
    "ends early": Oddity(
        "A CAR that ends too early, with the length that it has",
        "verification_failed",
        "CarTruncated",
        True,
        "account",
        lambda ask: _length(Ask(ask.path, ask.body[:-100]), len(ask.body) - 100),
    ),
    "no head": Oddity(
        "Silence instead of an answer",
        "timeout_error",
        "HostTimeout",
        True,
        "host",
        lambda ask: _stall(ask, b""),
    ),
    "half": Oddity(
        "Silence in the middle of the body",
        "timeout_error",
        "HostTimeout",
        True,
        "host",
        lambda ask: _stall(ask, _half(ask)),
    ),
    "trickle": Oddity("One byte a second", "timeout_error", "HostTimeout", True, "host", _trickle),
    "endless": Oddity("A body without end", "timeout_error", "HostTimeout", True, "host", _endless),
    "gzip": Oddity("A body that is gzip'd", None, None, False, "account", _zipped),
    "gzip bomb": Oddity(
        "A gzip'd body that grows beyond all bounds", "fetch_failed", "UnexpectedResponse", False, "account"
    ),
    # No way at all
    "refused": Oddity("A connection refused", "network_error", "HostUnreachable", True, "host"),
    "NXDOMAIN": Oddity("DNS: no such name", "network_error", "HostUnknown", True, "host"),
    "SERVFAIL": Oddity("DNS: no answer", "network_error", "HostUnreachable", True, "host"),
    "TLS expired": Oddity("A certificate that has expired", "network_error", "TlsInvalid", True, "host"),
    "TLS other name": Oddity("A certificate of another name", "network_error", "TlsInvalid", True, "host"),
    "TLS self-signed": Oddity(
        "A certificate of nobody that is trusted", "network_error", "TlsInvalid", True, "host"
    ),
    "IPv6 only": Oddity("An IPv6 address alone", None, None, False, "host"),
    "broken AAAA": Oddity(
        "An IPv6 address that leads nowhere beside an IPv4 one that works", None, None, False, "host"
    ),
}
