"""A PLC directory and PDSs as a process that costs next to nothing, so that what asks them is measured.

    python -m benchmarks.network READY ACCOUNTS [CARS]

All answers lie in memory before the first request. Every port answers everything; the DID documents name the
account's own, and each port is the key of another partition of `dids`. Tells its addresses in the file READY.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import unquote

import orjson
import uvloop

from benchmarks.repositories import HOSTS, population
from local.network.accounts import Population
from local.network.directory import did_document
from local.ports import HOST
from messaging.partitioner import partition_for

_GET_REPO = "/xrpc/com.atproto.sync.getRepo"
_MOST_PORTS = 2000
_LONGEST_HEAD = 64 * 1024

Page = tuple[bytes, bytes]
"""Head and body of an answer."""


class Pages(Protocol):
    """What a port answers."""

    def get(self, path: str, otherwise: Page, /) -> Page:
        """The answer to GET `path`; `otherwise` if there is none."""


class Connection(asyncio.Protocol):
    """One connection, kept alive: GET requests in, prepared answers out."""

    def __init__(self, pages: Pages) -> None:
        """`pages` by the path of a document, or by the DID of a repository."""
        self._pages = pages
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own, which inherits from nothing

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for head in heads:
            self._transport.writelines(self._page(head))
        if len(self._rest) > _LONGEST_HEAD:
            self._transport.close()

    def _page(self, head: bytes) -> Page:
        words = head.split(b" ", 2)
        target = unquote(words[1].decode("latin-1") if len(words) > 1 else "")
        path, _, query = target.partition("?")
        return self._pages.get(query.removeprefix("did=") if path == _GET_REPO else target, _NOT_FOUND)


def page(status: str, content_type: str, body: bytes) -> Page:
    """An answer as it goes over the wire."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode(), body


_NOT_FOUND = page("404 Not Found", "application/json", b'{"error":"NotFound","message":"not served here"}')


def pages_of(accounts: Population, origins: Sequence[str], cars: Path | None) -> dict[str, Page]:
    """Every account's DID document, and the repositories that lie in `cars`."""
    pages = {}
    for number in range(len(accounts)):
        account = accounts.account(number)
        document = orjson.dumps(did_document(account, origins[account.host], 0))
        pages[f"/{account.did}"] = page("200 OK", "application/did+ld+json", document)
    for number, file in enumerate(sorted(cars.glob("*.car")) if cars else ()):
        did = accounts.account(number).did
        pages[did] = page("200 OK", "application/vnd.ipld.car", file.read_bytes())
    return pages


def reserve(partitions: int) -> list[socket.socket]:
    """Ports of 127.0.0.1 whose origins are the keys of partition 0, 1, … in this order."""
    found: dict[int, socket.socket] = {}
    spare = []
    for _ in range(_MOST_PORTS):
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        probe.bind((HOST, 0))
        partition = partition_for(origin_of(probe), partitions)
        if partition in found:
            spare.append(probe)  # closed at the end only, so that its port is not offered again
        else:
            found[partition] = probe
        if len(found) == partitions:
            break
    for probe in spare:
        probe.close()
    return [found[partition] for partition in range(partitions)]


def origin_of(listening: socket.socket) -> str:
    """What a DID document names."""
    return f"http://{HOST}:{listening.getsockname()[1]}"


async def serve(ready: Path, accounts: int, cars: Path | None) -> None:
    """Serves until SIGTERM."""
    sockets = reserve(HOSTS)
    origins = [origin_of(each) for each in sockets]
    pages = pages_of(population(accounts), origins, cars)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    for each in sockets:
        await loop.create_server(lambda: Connection(pages), sock=each)
    draft = ready.with_suffix(".draft")
    draft.write_bytes(orjson.dumps(origins))
    draft.replace(ready)
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if sys.argv[3:] else None))
