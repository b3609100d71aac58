"""A simulated relay: which hosts there are, and which accounts, over the whole network."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from local.network.accounts import Account, Population
from local.network.active import ActiveFaults
from local.network.answer import Answer, bounded, json_answer, xrpc_error
from local.network.faults import ListedAs, MalformedRows
from local.network.pds import Pds, Status, malformed_rows
from local.network.store import RepoStore


class Relay:
    """Lists what the PDSs hold; ``pdses`` and ``origins`` are by host number."""

    def __init__(
        self,
        population: Population,
        faults: ActiveFaults,
        pdses: Sequence[Pds],
        origins: Sequence[str],
        store: RepoStore,
    ) -> None:
        self._population = population
        self._faults = faults
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
                "status": listed.status if (listed := self._faults.of_host(number, ListedAs)) else "active",
            }
            for number, origin in enumerate(self._origins)
        ]
        return json_answer({**_more(begin + limit, len(hosts)), "hosts": hosts[begin : begin + limit]})

    async def _list_repos(self, query: Mapping[str, str], *, collection: str | None, most: int) -> Answer:
        """listRepos, or listReposByCollection (which answers DIDs only, of active accounts)."""
        limit = bounded(query, "limit", default=500, most=most)
        if limit is None:
            return xrpc_error("InvalidRequest", f"limit must be between 1 and {most}")
        number = _number(query)
        malformed = self._faults.of_host("relay", MalformedRows)
        rows: list[object] = malformed_rows(malformed.rows if malformed and number == 0 else 0)
        while number < len(self._population) and len(rows) < limit:
            row = self._row(number, collection)
            if row is not None:
                rows.append(row)
                await asyncio.sleep(0)  # a row may cost building a repository
            number += 1
        return json_answer({**_more(number, len(self._population)), "repos": rows})

    def _row(self, number: int, collection: str | None) -> dict[str, object] | None:
        account = self._population.account(number)
        status = self._status(account)
        if collection is None and status != "not_found":
            head = self._store.head(account)
            row: dict[str, object] = {"did": account.did, "head": head.cid, "rev": head.rev}
            return row | ({"active": True} if status == "active" else {"active": False, "status": status})
        if status != "active" or collection is None:
            return None
        return {"did": account.did} if collection in self._store.collections(account) else None

    def _status(self, account: Account) -> Status:
        """What the host that the account lives on says of it; a host that it left has no say."""
        said = {pds.status(account) for pds in self._pdses} - {"not_found"}
        return "active" if "active" in said else next(iter(sorted(said)), "not_found")


def _number(query: Mapping[str, str]) -> int:
    cursor = query.get("cursor", "")
    return int(cursor) if cursor.isascii() and cursor.isdigit() else 0


def _more(number: int, total: int) -> dict[str, str]:
    return {"cursor": str(number)} if number < total else {}
