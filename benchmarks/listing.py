"""A relay and hosts that list accounts as fast as they are asked, as a process.

    python -m benchmarks.listing READY ACCOUNTS

The first port is the relay's (listRepos, listHosts, listReposByCollection), the others those of the hosts by
number, each with its own accounts. Tells its addresses in the file READY.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs

import orjson
import uvloop

from benchmarks.bulk import HOSTS, dids, host_of
from benchmarks.network import Connection, Page, origin_of, page, reserve

_REV = "3jzfcijpj2z2a"


class Lists:
    """The answers of one port, made when they are asked for."""

    def __init__(self, accounts: Sequence[str], hosts: Sequence[str] = ()) -> None:
        self._accounts, self._hosts = accounts, hosts

    def get(self, path: str, otherwise: Page) -> Page:
        """The answer to GET `path`, query included; `otherwise` if there is none."""
        method, _, query = path.partition("?")
        if method.endswith(".listHosts"):
            rows = [{"hostname": name, "status": "active"} for name in self._hosts]
            return page("200 OK", "application/json", orjson.dumps({"hosts": rows}))
        if not method.endswith((".listRepos", ".listReposByCollection")):
            return otherwise
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        begin, limit = int(asked.get("cursor", "0")), int(asked["limit"])
        repos = [
            {"did": did, "head": "bafyreib", "rev": _REV, "active": True}
            for did in self._accounts[begin : begin + limit]
        ]
        more = {"cursor": str(begin + limit)} if begin + limit < len(self._accounts) else {}
        return page("200 OK", "application/json", orjson.dumps({"repos": repos, **more}))


async def serve(ready: Path, count: int) -> None:
    """Serves until SIGTERM."""
    accounts = list(dids(count))
    shares: list[list[str]] = [[] for _ in range(HOSTS)]
    for did in accounts:
        shares[host_of(did)].append(did)
    sockets = reserve(HOSTS + 1)
    origins = [origin_of(each) for each in sockets]
    names = [origin.removeprefix("http://") for origin in origins[1:]]
    lists = [Lists(accounts, names), *map(Lists, shares)]
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    for each, answers in zip(sockets, lists, strict=True):
        await loop.create_server(lambda answers=answers: Connection(answers), sock=each)  # type: ignore[misc]
    draft = ready.with_suffix(".draft")
    draft.write_bytes(orjson.dumps(origins))
    draft.replace(ready)
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
