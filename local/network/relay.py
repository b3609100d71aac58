"""A simulated relay: which hosts there are, and which accounts, over the whole network."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from local.network.accounts import Population
from local.network.answer import Answer, bounded, json_answer, xrpc_error
from local.network.pds import Pds
from local.network.store import RepoStore


class Relay:
    """Lists what the PDSs hold; ``pdses`` and ``origins`` are by host number."""

    def __init__(
        self, population: Population, pdses: Sequence[Pds], origins: Sequence[str], store: RepoStore
    ) -> None:
        self._population = population
        self._pdses = pdses
        self._origins = origins
        self._store = store

    async def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        match path:
            case "/xrpc/com.atproto.sync.listHosts":
                return self._list_hosts(query)
            case "/xrpc/com.atproto.sync.listRepos":
                return await self._list_repos(query, collection=None, most=1000)
            case "/xrpc/com.atproto.sync.listReposByCollection":
                collection = query.get("collection", "")
                return await self._list_repos(query, collection=collection, most=2000)
            case "/xrpc/_health":
                return json_answer({"version": "skyfill-network"})
        return xrpc_error("MethodNotImplemented", "Method Not Implemented", status=501)

    def _list_hosts(self, query: Mapping[str, str]) -> Answer:
        limit = bounded(query, "limit", default=200, most=1000)
        if limit is None:
            return xrpc_error("InvalidRequest", "limit must be between 1 and 1000")
        begin = _number(query)
        counts = Counter(self._population.account(n).host for n in range(len(self._population)))
        hosts = [
            {
                "hostname": origin.removeprefix("http://"),
                "seq": 0,
                "accountCount": counts[number],
                "status": "active",
            }
            for number, origin in enumerate(self._origins)
        ]
        return json_answer({**_more(begin + limit, len(hosts)), "hosts": hosts[begin : begin + limit]})

    async def _list_repos(self, query: Mapping[str, str], *, collection: str | None, most: int) -> Answer:
        """listRepos, or listReposByCollection (which answers DIDs only, of active accounts)."""
        limit = bounded(query, "limit", default=500, most=most)
        if limit is None:
            return xrpc_error("InvalidRequest", f"limit must be between 1 and {most}")
        rows: list[dict[str, object]] = []
        number = _number(query)
        while number < len(self._population) and len(rows) < limit:
            row = self._row(number, collection)
            if row is not None:
                rows.append(row)
                await asyncio.sleep(0)  # a row may cost building a repository
            number += 1
        return json_answer({**_more(number, len(self._population)), "repos": rows})

    def _row(self, number: int, collection: str | None) -> dict[str, object] | None:
        account = self._population.account(number)
        if not any(pds.status(account) == "active" for pds in self._pdses):
            return None
        if collection is None:
            head = self._store.head(account)
            return {"did": account.did, "head": head.cid, "rev": head.rev, "active": True}
        return {"did": account.did} if collection in self._store.collections(account) else None


def _number(query: Mapping[str, str]) -> int:
    cursor = query.get("cursor", "")
    return int(cursor) if cursor.isascii() and cursor.isdigit() else 0


def _more(number: int, total: int) -> dict[str, str]:
    return {"cursor": str(number)} if number < total else {}
