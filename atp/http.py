"""HTTP with bounds: on where it connects, how far it is redirected, how long it waits and how much it reads.
Nothing but an XrpcError comes out of here, and with an answer's error come the answer's headers.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from atp import net
from schemas.errors import (
    AddressForbidden,
    HostTimeout,
    HostUnknown,
    HostUnreachable,
    NotAtproto,
    TlsInvalid,
    UnexpectedResponse,
    XrpcError,
)

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_CHUNK = 1 << 16  # bytes
LEAST_BYTES = 1 << 13
"""What an answer has to bring within the client's timeout, or it counts as none."""

Params = Mapping[str, str | int]


class Response:
    """An answer whose body is still to be read: status, headers, and chunks."""

    def __init__(self, response: aiohttp.ClientResponse, patience: float) -> None:
        """A body that brings less than LEAST_BYTES within ``patience`` seconds of waiting is given up."""
        self._response = response
        self._patience = patience
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers  # case-insensitive
        self.url = str(response.url)

    async def chunks(self, limit: int) -> AsyncIterator[bytes]:
        """The body, decompressed, in pieces. Raises UnexpectedResponse once it is over ``limit`` bytes,
        HostTimeout where it trickles, HostUnreachable where it is cut short."""
        total = came = 0
        waited = 0.0  # for the host; what the reader does between two pieces is not its fault
        content = self._response.content
        with _errors_of(self._response.url, self.headers):
            while True:
                since = time.monotonic()
                chunk = await content.read(_CHUNK)
                waited += time.monotonic() - since
                if not chunk:
                    return
                total += len(chunk)
                came += len(chunk)
                if total > limit:
                    message = f"{self.url} answers more than {limit} bytes"
                    raise UnexpectedResponse(message, self.status, self.headers)
                yield chunk
                if waited >= self._patience:
                    if came < LEAST_BYTES:
                        message = f"{self.url} trickles: {came} bytes in {waited:.0f} s"
                        raise HostTimeout(message, self.headers)
                    came, waited = 0, 0.0

    async def read(self, limit: int) -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self.chunks(limit)])


class Http:
    """Two connection pools behind one face: a guarded one, and one for what the operator configured.

    Use as an async context manager, or call ``close``. ``resolver`` and ``ssl_context`` replace the
    system's name resolution and certificate authorities.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        allow_private_hosts: bool = False,
        timeout: float = 30.0,
        connect_timeout: float = 10.0,
        resolver: AbstractResolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._headers = {"User-Agent": user_agent}
        self.allow_private_hosts = allow_private_hosts
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._resolver = resolver
        self._ssl = ssl_context
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    @asynccontextmanager
    async def get(
        self,
        url: str | URL,
        params: Params | None = None,
        *,
        trusted: bool = False,
        total: float | None = None,
    ) -> AsyncIterator[Response]:
        """GET, follow redirects, and give the last answer, whatever its status.

        ``trusted`` is for a URL from the operator's settings: it may be private or plain http. That
        trust covers its own origin, not where that redirects to. ``total`` is the longest time in
        seconds from first to last byte; a silence is never borne longer than the client's timeout.
        Raises HostTimeout, HostUnreachable, AddressForbidden, UnexpectedResponse.
        """
        target = _parse(url, params)
        home = target.origin() if trusted else None
        for _ in range(MAX_REDIRECTS + 1):
            private = self.allow_private_hosts or target.origin() == home
            net.check_url(target, allow_private=private)
            async with self._request(target, private, total) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or location is None:
                    yield Response(response, self._timeout)
                    return
                target = _join(response, location)
        message = f"{url} redirects more than {MAX_REDIRECTS} times"
        raise NotAtproto(message, response.status, response.headers)

    async def post(
        self, url: str | URL, body: bytes, headers: Mapping[str, str], *, total: float, trusted: bool = False
    ) -> tuple[int, Mapping[str, str]]:
        """POST; the answer's status and headers. Its body is not read, and no redirect is followed.

        ``trusted`` and ``total`` as for ``get``. Raises HostTimeout, HostUnreachable, AddressForbidden,
        NotAtproto.
        """
        target = _parse(url, None)
        private = self.allow_private_hosts or trusted
        net.check_url(target, allow_private=private)
        async with self._request(target, private, total, "POST", body, headers) as response:
            return response.status, response.headers

    @asynccontextmanager
    async def _request(
        self,
        target: URL,
        private: bool,
        total: float | None,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(
            total=total, sock_connect=self._connect_timeout, sock_read=self._timeout, connect=None
        )
        with _errors_of(target, None):
            response = await self._session(private).request(
                method, target, data=body, headers=headers, allow_redirects=False, timeout=timeout
            )
        try:
            yield response
        finally:
            response.release()  # closes the connection, unless the body was read to its end

    def _session(self, private: bool) -> aiohttp.ClientSession:
        if private not in self._sessions:
            connector = aiohttp.TCPConnector(
                limit=0,  # the limits are the callers', per host
                resolver=self._resolver,
                ssl=self._ssl if self._ssl is not None else True,
                socket_factory=net.open_socket if private else net.guarded_socket,
            )
            self._sessions[private] = aiohttp.ClientSession(
                connector=connector, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._sessions[private]


def _parse(url: str | URL, params: Params | None) -> URL:
    try:
        parsed = URL(url)
        parsed.origin()
    except ValueError as error:
        raise AddressForbidden(f"{str(url)[:200]!r} is not the URL of a host: {error}") from error
    return parsed.update_query(params) if params else parsed


def _join(response: aiohttp.ClientResponse, location: str) -> URL:
    try:
        target = response.url.join(URL(location))
        target.origin()
    except ValueError as error:
        message = f"{response.url} redirects to {location[:200]!r}, which is not the URL of a host"
        raise NotAtproto(message, response.status, response.headers) from error
    return target


@contextmanager
def _errors_of(url: URL, headers: Mapping[str, str] | None) -> Iterator[None]:
    """Turn what aiohttp raises into the errors of this project."""
    try:
        yield
    except XrpcError:
        raise
    except aiohttp.ConnectionTimeoutError as error:
        raise HostTimeout(f"{url} took no connection in time", headers, connected=False) from error
    except TimeoutError as error:
        raise HostTimeout(f"{url} did not answer in time", headers) from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise TlsInvalid(f"{url}: {error}", headers, connected=False) from error
    except aiohttp.ClientConnectorDNSError as error:
        unknown = error.os_error.errno in _NO_SUCH_NAME
        kind = HostUnknown if unknown else HostUnreachable
        raise kind(f"{url}: {error}", headers, connected=False) from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, net.ForbiddenConnection):
            raise AddressForbidden(f"{url} leads to an address that is not public", headers) from error
        raise HostUnreachable(f"{url}: {error}", headers, connected=False) from error
    except aiohttp.ClientResponseError as error:
        raise NotAtproto(f"{url}: not HTTP: {error.message}", error.status, headers) from error
    except (aiohttp.ClientError, OSError) as error:
        raise HostUnreachable(f"{url}: {error or type(error).__name__}", headers) from error
