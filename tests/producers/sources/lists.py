"""Hosts on loopback that list whatever a test wants them to list, and misbehave when they are told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.atp.hosts import Host, serving

MALFORMED: list[Any] = [
    {"did": "nobody"},
    {"did": 7},
    {},
    "did:plc:x",
    None,
    {"did": "did:plc:" + "x" * 3000},
]
Misbehaviour = Callable[[Mapping[str, str]], web.Response | None]
"""From a request's query to what is answered instead of the list; None: the list, after all."""


class Lists:
    """A relay or PDS: rows by the method's last word, and by the collection where there is one."""

    def __init__(self) -> None:
        self.rows: dict[str, Sequence[Any]] = {}
        self.misbehaviour: Misbehaviour = lambda query: None
        self.host = Host()

    @property
    def url(self) -> str:
        return self.host.url

    @property
    def name(self) -> str:
        """As a relay lists it."""
        return self.url.removeprefix("http://")

    def asked(self, method: str) -> list[Mapping[str, str]]:
        """The queries of a method's requests."""
        return [request.query for request in self.host.requests if request.path.endswith(f".{method}")]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Numbers as cursors: from which row on."""
        instead = self.misbehaviour(request.query)
        if instead is not None:
            return instead
        method = request.path.rpartition(".")[2]
        rows = self.rows.get(request.query.get("collection", method))
        if rows is None:
            error = {"error": "MethodNotImplemented", "message": "Method Not Implemented"}
            return web.json_response(error, status=501)
        begin, limit = int(request.query.get("cursor", "0")), int(request.query["limit"])
        more = {"cursor": str(begin + limit)} if begin + limit < len(rows) else {}
        field = "hosts" if method == "listHosts" else "repos"
        return web.json_response({field: rows[begin : begin + limit], **more})


@asynccontextmanager
async def listing() -> AsyncIterator[Lists]:
    """A host that runs until the block ends."""
    lists = Lists()
    async with serving(lists.answer) as host:  # type: ignore[arg-type]
        lists.host = host
        yield lists


def rows_of(names: Sequence[str], malformed: int = 0) -> list[Any]:
    """Rows as listRepos has them, with so many among them that are none."""
    rows: list[Any] = [{"did": name, "active": True} for name in names]
    for number in range(malformed):
        rows.insert(number * 3 % (len(rows) + 1), MALFORMED[number % len(MALFORMED)])
    return rows


def first(count: int, response: Callable[[], web.Response]) -> Misbehaviour:
    """The first requests are answered so."""
    left = count

    def misbehave(query: Mapping[str, str]) -> web.Response | None:
        nonlocal left
        left -= 1
        return response() if left >= 0 else None

    return misbehave


def always(response: Callable[[], web.Response]) -> Misbehaviour:
    """Every request is answered so."""
    return lambda query: response()
