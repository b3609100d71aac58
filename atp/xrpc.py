"""XRPC, as a client: what a host answers becomes a value or one typed error, never something between.

Every answer and every error carries the answer's headers, for the limiter of its host.
Sources: atproto.com/specs/xrpc, RFC 9110 (Retry-After)
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import orjson
from aiohttp.abc import AbstractResolver

from atp.http import Http, Params, Response
from schemas.errors import (
    NotAtproto,
    RateLimited,
    RecordNotFound,
    RepoDeactivated,
    RepoNotFound,
    RepoSuspended,
    RepoTakendown,
    RepoUnavailable,
    UnexpectedResponse,
    XrpcError,
)

_REPO_STATES: dict[str, type[RepoUnavailable]] = {
    "RepoNotFound": RepoNotFound,
    "RepoTakendown": RepoTakendown,
    "RepoSuspended": RepoSuspended,
    "RepoDeactivated": RepoDeactivated,
}
_UNKNOWN_REPO = "Could not find repo"  # listRecords, and getRepo of older PDSs, say so as InvalidRequest
_JSON_LIMIT = 32 << 20  # bytes: 100 records of the largest size that a PDS takes
_TEXT_LIMIT = 1 << 16
_ERROR_LIMIT = 1 << 16
_REPO_LIMIT = 16 << 30
_REPO_TOTAL = 3600.0  # seconds
_STATUSES = frozenset(HTTPStatus)
_WELL_KNOWN = "/.well-known/"


class Answer(NamedTuple):
    """A body, mostly decoded JSON, and the headers that came with it (case-insensitive)."""

    body: Any
    headers: Mapping[str, str]


class Download:
    """A repository on its way: iterate over it for the chunks of its CAR.

    The iteration raises HostUnreachable where the connection is cut short, HostTimeout where it stalls or
    trickles, NotAtproto where nothing comes at all.
    """

    def __init__(self, response: Response, limit: int) -> None:
        self._response = response
        self._limit = limit
        self.status = response.status
        self.headers = response.headers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        empty = True
        async for chunk in self._response.chunks(self._limit):
            empty = False
            yield chunk
        if empty:
            raise NotAtproto(f"{self._response.url} answers nothing", self.status, self.headers)


class Observer(Protocol):
    """Is told of every request. Few words, so that they can be labels: hosts and accounts are not named."""

    def began(self, endpoint: str) -> None:
        """A request is about to be sent; `ended` follows in any case."""

    def answered(self, endpoint: str, seconds: float) -> None:
        """The head of an answer came, ``seconds`` after the request."""

    def ended(self, endpoint: str, outcome: str, seconds: float) -> None:
        """All is read: ``outcome`` is the status. Or an error's reason, ``cancelled``, or ``dropped``."""


class Client:
    """Asks hosts. One per process: it holds the connection pools. An async context manager.

    ``allow_private_hosts`` is for local networks and tests: it lets documents name loopback and http.
    ``timeout`` is the longest silence of a host, in seconds.
    """

    def __init__(
        self,
        *,
        user_agent: str = "skyfill",
        allow_private_hosts: bool = False,
        timeout: float = 30.0,
        connect_timeout: float = 10.0,
        resolver: AbstractResolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.allow_private_hosts = allow_private_hosts
        self._timeout = timeout
        self._observer = observer
        self._http = Http(
            user_agent=user_agent,
            allow_private_hosts=allow_private_hosts,
            timeout=timeout,
            connect_timeout=connect_timeout,
            resolver=resolver,
            ssl_context=ssl_context,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def get_json(self, url: str, params: Params | None = None, *, trusted: bool = False) -> Answer:
        """GET a JSON document. ``trusted``: the URL is from the operator's settings.

        Raises XrpcError's subclasses; UnexpectedResponse for a body that isn't JSON, or too large.
        """
        async with self._get(url, params, trusted) as response:
            body = await response.read(_JSON_LIMIT)
        try:
            return Answer(orjson.loads(body), response.headers)
        except orjson.JSONDecodeError as error:
            message = f"{response.url} does not answer JSON: {error}"
            raise NotAtproto(message, response.status, response.headers) from error

    async def get_bytes(self, url: str, params: Params | None = None, *, trusted: bool = False) -> Answer:
        """GET a body as it is, at most 32 MiB. Raises XrpcError's subclasses."""
        async with self._get(url, params, trusted) as response:
            return Answer(await response.read(_JSON_LIMIT), response.headers)

    async def get_text(self, url: str, *, trusted: bool = False) -> str:
        """GET a short text in UTF-8. Raises XrpcError's subclasses."""
        async with self._get(url, None, trusted) as response:
            return (await response.read(_TEXT_LIMIT)).decode("utf-8", "replace")

    async def query(
        self, host: str, method: str, params: Params | None = None, *, trusted: bool = False
    ) -> Answer:
        """Call an XRPC query, such as ``com.atproto.sync.listRepos``, on a host given by its origin.

        The body is a JSON object. Raises XrpcError's subclasses.
        """
        answer = await self.get_json(_method_url(host, method), params, trusted=trusted)
        if not isinstance(answer.body, dict):
            raise NotAtproto(f"{host}: {method} answers no JSON object", 200, answer.headers)
        return answer

    @asynccontextmanager
    async def get_repo(
        self,
        pds: str,
        did: str,
        since: str | None = None,
        *,
        limit: int = _REPO_LIMIT,
        total: float = _REPO_TOTAL,
    ) -> AsyncIterator[Download]:
        """Download a repository's CAR: ``async with client.get_repo(…) as download``, then iterate.

        ``since`` is a rev, for the difference to it. ``limit`` in bytes and ``total`` in seconds bound
        the whole. Raises XrpcError's subclasses; NotAtproto for a page or JSON instead of a CAR.
        """
        params = {"did": did} if since is None else {"did": did, "since": since}
        url = _method_url(pds, "com.atproto.sync.getRepo")
        async with self._get(url, params, trusted=False, total=total) as response:
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if kind.startswith("text/") or kind == "application/json":
                raise NotAtproto(f"{response.url} answers {kind}, no CAR", response.status, response.headers)
            yield Download(response, limit)

    async def list_records(
        self,
        pds: str,
        did: str,
        collection: str,
        *,
        limit: int = 100,
        cursor: str | None = None,
        reverse: bool = False,
    ) -> Answer:
        """A page of records (``body["records"]``, ``body.get("cursor")``), newest rkey first.

        ``reverse`` lists the oldest first. Raises XrpcError's subclasses.
        """
        params: dict[str, str | int] = {"repo": did, "collection": collection, "limit": limit}
        if cursor is not None:
            params["cursor"] = cursor
        if reverse:
            params["reverse"] = "true"
        answer = await self.query(pds, "com.atproto.repo.listRecords", params)
        return _checked(answer, "com.atproto.repo.listRecords", records=list)

    async def get_record(self, pds: str, did: str, collection: str, rkey: str) -> Answer:
        """One record: ``body["uri"]``, ``["cid"]``, ``["value"]``. Raises RecordNotFound and XrpcError."""
        params = {"repo": did, "collection": collection, "rkey": rkey}
        return await self.query(pds, "com.atproto.repo.getRecord", params)

    async def get_latest_commit(self, pds: str, did: str) -> Answer:
        """The head of a repository: ``body["cid"]`` and ``body["rev"]``. Raises XrpcError's subclasses."""
        answer = await self.query(pds, "com.atproto.sync.getLatestCommit", {"did": did})
        return _checked(answer, "com.atproto.sync.getLatestCommit", cid=str, rev=str)

    async def describe_repo(self, pds: str, did: str) -> Answer:
        """What a PDS knows of an account: ``body["collections"]`` and more. Raises XrpcError's subclasses."""
        answer = await self.query(pds, "com.atproto.repo.describeRepo", {"repo": did})
        return _checked(answer, "com.atproto.repo.describeRepo", collections=list)

    async def resolve_handle(self, host: str, handle: str, *, trusted: bool = False) -> Answer:
        """The DID that a host believes a handle to name: ``body["did"]``. Raises XrpcError's subclasses."""
        method = "com.atproto.identity.resolveHandle"
        return _checked(await self.query(host, method, {"handle": handle}, trusted=trusted), method, did=str)

    @asynccontextmanager
    async def _get(
        self, url: str, params: Params | None, trusted: bool, total: float | None = None
    ) -> AsyncIterator[Response]:
        total = 2 * self._timeout if total is None else total
        endpoint, started, status, outcome = _endpoint(url), time.monotonic(), "", "dropped"
        if self._observer:
            self._observer.began(endpoint)
        try:
            async with self._http.get(url, params, trusted=trusted, total=total) as response:
                status = _status(response.status)
                if self._observer:
                    self._observer.answered(endpoint, time.monotonic() - started)
                if response.status != 200:
                    raise await _error_of(response)
                yield response
            outcome = status
        except XrpcError as error:
            outcome = error.reason if status in ("", "200") else status
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            if self._observer:
                self._observer.ended(endpoint, outcome, time.monotonic() - started)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait in Retry-After, which is a number or a date; None without.

    A date counts against the answer's own Date, so that our clock does not matter.
    """
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        until, now = _timestamp(text), _timestamp(headers.get("Date", ""))
        if until is None:
            return None
        seconds = until - (time.time() if now is None else now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _timestamp(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def _method_url(host: str, method: str) -> str:
    return f"{host.rstrip('/')}/xrpc/{method}"


def _endpoint(url: str) -> str:
    """The last word of an XRPC method or well-known file; everything else is a DID document of the PLC."""
    path = url.partition("?")[0]
    if "/xrpc/" in path:
        return path.rpartition("/")[2].rpartition(".")[2]
    return path.rpartition("/")[2] if _WELL_KNOWN in path else "plc"


def _status(status: int) -> str:
    """A host may answer any number; those without a meaning count as their class."""
    return str(status) if status in _STATUSES else f"{status // 100}xx"


def _checked(answer: Answer, method: str, **fields: type) -> Answer:
    for name, kind in fields.items():
        if not isinstance(answer.body.get(name), kind):
            message = f"{method} answers without a usable field {name!r}"
            raise NotAtproto(message, 200, answer.headers)
    return answer


async def _error_of(response: Response) -> XrpcError:
    """The error that an answer of another status than 200 stands for."""
    name, message = await _error_body(response)
    text = f"{response.url}: {response.status} {name}: {message}"[:500]
    if response.status == 429:
        return RateLimited(text, retry_after(response.headers), response.headers)
    if 400 <= response.status < 500:
        if name in _REPO_STATES:
            return _REPO_STATES[name](text, response.headers)
        if name == "InvalidRequest" and message.startswith(_UNKNOWN_REPO):
            return RepoNotFound(text, response.headers)
        if name == "RecordNotFound":
            return RecordNotFound(text, response.status, response.headers)
    kind = UnexpectedResponse if name else NotAtproto
    return kind(text, response.status, response.headers)


async def _error_body(response: Response) -> tuple[str, str]:
    """Name and message in an error's body, as far as there are any. Its status counts, whatever the body."""
    try:
        body = orjson.loads(await response.read(_ERROR_LIMIT))
    except (XrpcError, orjson.JSONDecodeError):
        return "", ""
    if not isinstance(body, dict):
        return "", ""
    return str(body.get("error", "")), str(body.get("message", ""))
