"""HTTP on loopback: what comes through, and what may never be reached."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from atp.http import MAX_REDIRECTS, Http
from schemas.errors import (
    AddressForbidden,
    HostTimeout,
    HostUnknown,
    HostUnreachable,
    UnexpectedResponse,
    XrpcError,
)
from tests.atp.hosts import Handler, Host, Names, serving, serving_bytes, tls_for

LIMIT = 1 << 20


async def answer(request: web.Request) -> web.StreamResponse:
    return web.Response(text=f"{request.method} {request.path_qs}", headers={"RateLimit-Remaining": "7"})


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with serving(answer) as running:
        yield running


def local() -> Http:
    return Http(user_agent="tests/1", allow_private_hosts=True, timeout=5.0)


def guarded(names: dict[str, tuple[str, int]] | None = None) -> Http:
    return Http(user_agent="tests/1", timeout=5.0, resolver=Names(names or {}))


async def fetch(http: Http, url: str, *, trusted: bool = False, total: float | None = None) -> str:
    async with http, http.get(url, trusted=trusted, total=total) as response:
        return (await response.read(LIMIT)).decode()


def redirecting(*locations: str, status: int = 302) -> Handler:
    """A handler that sends /0 to the first location, /1 to the second, and answers all else."""

    async def handle(request: web.Request) -> web.StreamResponse:
        step = request.path.removeprefix("/")
        if step.isdigit() and int(step) < len(locations):
            return web.Response(status=status, headers={"Location": locations[int(step)]})
        return await answer(request)

    return handle


# What comes through


async def test_an_answer_has_status_headers_and_body(host: Host) -> None:
    async with local() as http, http.get(f"{host.url}/path", {"a": "b c", "d": 1}) as response:
        assert response.status == 200
        assert response.headers["ratelimit-remaining"] == "7"
        assert await response.read(LIMIT) == b"GET /path?a=b+c&d=1"
    assert host.requests[0].headers["User-Agent"] == "tests/1"
    assert "Cookie" not in host.requests[0].headers


async def test_a_client_closed_can_be_closed_again(host: Host) -> None:
    http = local()
    async with http.get(host.url) as response:
        await response.read(LIMIT)
    await http.close()
    await http.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(status: int) -> None:
    async with serving(redirecting("1", "/2?a=b", status=status)) as host:
        assert await fetch(local(), f"{host.url}/0") == "GET /2?a=b"


async def test_redirects_have_an_end(host: Host) -> None:
    async with serving(redirecting("0")) as circle:
        with pytest.raises(UnexpectedResponse, match="redirects more than") as raised:
            await fetch(local(), f"{circle.url}/0")
        assert len(circle.requests) == MAX_REDIRECTS + 1
        assert raised.value.headers is not None


async def test_a_redirect_without_location_is_an_answer() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, text="nowhere")

    async with serving(handle) as host:
        assert await fetch(local(), host.url) == "nowhere"


@pytest.mark.parametrize(
    "location", ["http://[::1", "http://a:port/", "file:///etc/passwd", "mailto:me", "http://"]
)
async def test_a_redirect_to_no_url(location: str) -> None:
    async with serving(redirecting(location)) as host:
        with pytest.raises(XrpcError):
            await fetch(local(), f"{host.url}/0")


async def test_a_body_over_the_limit(host: Host) -> None:
    async with local() as http, http.get(f"{host.url}/{'a' * 100}") as response:
        with pytest.raises(UnexpectedResponse, match="more than 50 bytes"):
            await response.read(50)


async def test_the_limit_counts_what_was_compressed() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.Response(body=bytes(10_000_000))
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with serving(handle) as host, local() as http, http.get(host.url) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        with pytest.raises(UnexpectedResponse, match="more than"):
            await response.read(LIMIT)


# What doesn't come at all


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(HostUnreachable):
        await fetch(local(), f"http://127.0.0.1:{port}")


async def test_no_such_name() -> None:
    with pytest.raises(HostUnknown):
        await fetch(guarded(), "https://pds.example")


@pytest.mark.parametrize("answered", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_hung_up_before_an_answer(answered: bytes) -> None:
    async with serving_bytes(answered) as url:
        with pytest.raises(HostUnreachable):
            await fetch(local(), url)


@pytest.mark.parametrize(
    "answered",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe beginning",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n",
    ],
)
async def test_hung_up_in_the_middle(answered: bytes) -> None:
    async with serving_bytes(answered) as url:
        with pytest.raises(HostUnreachable) as raised:
            await fetch(local(), url)
        assert raised.value.headers is not None


async def test_not_http() -> None:
    async with serving_bytes(b"220 mail.example ESMTP\r\n\r\n") as url:
        with pytest.raises(UnexpectedResponse, match="not HTTP"):
            await fetch(local(), url)


@pytest.mark.parametrize("answered", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe beginning"])
@pytest.mark.parametrize("by", ["silence", "total"])
async def test_no_answer_in_time(answered: bytes, by: str) -> None:
    http = Http(user_agent="t", allow_private_hosts=True, timeout=0.1 if by == "silence" else 60.0)
    async with serving_bytes(answered, stall=True) as url:
        with pytest.raises(HostTimeout):
            await fetch(http, url, total=0.1 if by == "total" else None)


async def test_a_certificate_of_nobody_we_trust(tmp_path: Path) -> None:
    server, _ = tls_for("pds.example", folder=tmp_path)
    async with serving(answer, server) as host:
        http = Http(
            user_agent="t",
            allow_private_hosts=True,
            resolver=Names({"pds.example": ("127.0.0.1", host.port)}),
        )
        with pytest.raises(HostUnreachable, match=r"(?i)certificate"):
            await fetch(http, "https://pds.example")
        assert host.requests == []


async def test_a_certificate_of_an_authority_we_were_given(tmp_path: Path) -> None:
    server, client = tls_for("pds.example", folder=tmp_path)
    async with serving(answer, server) as host:
        names = Names({"pds.example": ("127.0.0.1", host.port), "other.example": ("127.0.0.1", host.port)})
        http = Http(user_agent="t", allow_private_hosts=True, resolver=names, ssl_context=client)
        assert await fetch(http, "https://pds.example/a") == "GET /a"
        with pytest.raises(HostUnreachable):
            await fetch(http, "https://other.example/a")


# What may not be reached


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_loopback_by_address_is_refused(host: Host, scheme: str) -> None:
    for address in "127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "127.1", "2130706433":
        with pytest.raises(AddressForbidden):
            await fetch(guarded(), f"{scheme}://{address}:{host.port}/")
    assert host.requests == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254"])
async def test_a_name_that_leads_to_a_private_address_is_refused_before_the_connect(address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(0.0)
        names = {"pds.example": (address, door.getsockname()[1])}
        with pytest.raises(AddressForbidden, match="not public"):
            await fetch(guarded(names), "https://pds.example")
        with pytest.raises(BlockingIOError):
            door.accept()


async def test_the_operators_own_url_may_be_private(host: Host) -> None:
    assert await fetch(guarded(), f"{host.url}/a", trusted=True) == "GET /a"


async def test_trust_covers_redirects_within_the_same_origin() -> None:
    async with serving(redirecting("/1", "/there")) as host:
        assert await fetch(guarded(), f"{host.url}/0", trusted=True) == "GET /there"


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{}/",
        "https://127.0.0.1:{}/",
        "https://[::ffff:127.0.0.1]:{}/",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost:{}/",
        "https://inside.example/",
        "https://user:password@pds.example/",
    ],
)
async def test_trust_does_not_cover_where_a_redirect_leads(host: Host, location: str) -> None:
    http = guarded({"inside.example": ("127.0.0.1", host.port)})
    async with serving(redirecting(location.format(host.port))) as trusted:
        with pytest.raises(AddressForbidden):
            await fetch(http, f"{trusted.url}/0", trusted=True)
    assert host.requests == []


async def test_a_connection_made_in_trust_is_not_used_without_it(host: Host, tmp_path: Path) -> None:
    server, client = tls_for("pds.example", folder=tmp_path)
    async with serving(answer, server) as target:
        names = Names({"pds.example": ("127.0.0.1", target.port)})
        async with Http(user_agent="t", resolver=names, ssl_context=client) as http:
            async with http.get("https://pds.example/a", trusted=True) as response:
                await response.read(LIMIT)
            with pytest.raises(AddressForbidden):
                async with http.get("https://pds.example/b"):
                    pytest.fail("an idle connection to a private address was used")
        assert target.paths == ["/a"]


@pytest.mark.parametrize("url", ["", "pds.example", "https://", "https://[::1", "https://a:port"])
async def test_what_is_no_url(url: str) -> None:
    with pytest.raises(AddressForbidden):
        await fetch(local(), url)
