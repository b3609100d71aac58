"""A simulated PDS: the sync and repo methods that a backfill reads.

Answers and errors are those of the reference PDS. It never serves an account that lives elsewhere.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from typing import Literal

import orjson

from local.network.accounts import Account, Population
from local.network.active import ActiveFaults
from local.network.answer import Answer, bounded, json_answer, xrpc_error
from local.network.directory import did_document, resolve_handle
from local.network.faults import (
    Changing,
    ForeignRows,
    MalformedRows,
    Moved,
    RotatedKey,
    Tombstoned,
    Unavailable,
)
from local.network.store import Listed, RepoStore

Status = Literal["active", "takendown", "suspended", "deactivated", "not_found"]

SYNC_ERRORS: Mapping[Status, tuple[str, str]] = {
    "takendown": ("RepoTakendown", "Repo has been taken down: "),
    "suspended": ("RepoSuspended", "Repo has been suspended: "),
    "deactivated": ("RepoDeactivated", "Repo has been deactivated: "),
    "not_found": ("RepoNotFound", "Could not find repo for DID: "),
}


class Pds:
    """Host ``number`` of the network, reachable at ``origin``."""

    def __init__(
        self, number: int, origin: str, population: Population, faults: ActiveFaults, store: RepoStore
    ) -> None:
        self._number = number
        self._origin = origin
        self._population = population
        self._faults = faults
        self._store = store
        self._methods: Mapping[str, Callable[[Mapping[str, str]], Answer]] = {
            "com.atproto.sync.getRepo": self.get_repo,
            "com.atproto.sync.getLatestCommit": self.get_latest_commit,
            "com.atproto.sync.getRepoStatus": self.get_repo_status,
            "com.atproto.repo.listRecords": self.list_records,
            "com.atproto.repo.describeRepo": self.describe_repo,
            "com.atproto.repo.getRecord": self.get_record,
            "com.atproto.identity.resolveHandle": lambda query: resolve_handle(population, query),
            "com.atproto.server.describeServer": self.describe_server,
            "_health": lambda query: json_answer({"version": "skyfill-network"}),
        }

    async def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        if path == "/xrpc/com.atproto.sync.listRepos":
            return await self.list_repos(query)
        method = self._methods.get(path.removeprefix("/xrpc/"))
        if method is None or not path.startswith("/xrpc/"):
            return xrpc_error("MethodNotImplemented", "Method Not Implemented", status=501)
        return method(query)

    def status(self, account: Account) -> Status:
        """The account's status on this host."""
        moved = self._faults.of_account(account.number, Moved)
        if self._faults.of_account(account.number, Tombstoned):
            return "not_found"
        if moved is not None and self._number != moved.to_host:
            return "deactivated" if self._number == account.host else "not_found"
        if moved is None and self._number != account.host:
            return "not_found"
        unavailable = self._faults.of_account(account.number, Unavailable)
        return unavailable.state if unavailable is not None else "active"

    def get_repo(self, query: Mapping[str, str]) -> Answer:
        """com.atproto.sync.getRepo; with ``since`` the blocks that came after that rev, none if none did."""
        account = self._synced(query)
        if isinstance(account, Answer):
            return account
        since = query.get("since")
        car = self._store.car(account) if since is None else self._store.difference(account, since)
        return Answer(200, car, "application/vnd.ipld.car", chunked=True)

    def get_latest_commit(self, query: Mapping[str, str]) -> Answer:
        account = self._synced(query)
        if isinstance(account, Answer):
            return account
        head = self._store.head(account)
        return json_answer({"cid": head.cid, "rev": head.rev})

    def get_repo_status(self, query: Mapping[str, str]) -> Answer:
        account = self._population.find(query.get("did", ""))
        status: Status = "not_found" if account is None else self.status(account)
        if account is None or status == "not_found":
            return xrpc_error("RepoNotFound", f"Could not find repo for DID: {query.get('did', '')}")
        if status == "active":
            return json_answer({"did": account.did, "active": True, "rev": self._store.writes.rev(account)})
        return json_answer({"did": account.did, "active": False, "status": status})

    async def list_repos(self, query: Mapping[str, str]) -> Answer:
        """com.atproto.sync.listRepos: also the accounts that moved away, as deactivated."""
        limit = bounded(query, "limit", default=500, most=1000)
        if limit is None:
            return xrpc_error("InvalidRequest", "limit must be between 1 and 1000")
        cursor = query.get("cursor", "")
        number = int(cursor) if cursor.isascii() and cursor.isdigit() else 0
        malformed = self._faults.of_host(self._number, MalformedRows)
        repos: list[object] = malformed_rows(malformed.rows if malformed and number == 0 else 0)
        while number < len(self._population) and len(repos) < limit:
            account = self._population.account(number)
            status = self.status(account)
            if status == "not_found" and self._claims(account):
                status = "active"
            if status != "not_found":
                repos.append(self._row(account, status))
                await asyncio.sleep(0)  # a row may cost building a repository
            number += 1
        more = {"cursor": str(number)} if number < len(self._population) else {}
        return json_answer({**more, "repos": repos})

    def list_records(self, query: Mapping[str, str]) -> Answer:
        """com.atproto.repo.listRecords: newest keys first, or ascending with ``reverse``."""
        account = self._here(query)
        if isinstance(account, Answer):
            return account
        limit = bounded(query, "limit", default=50, most=100)
        if limit is None:
            return xrpc_error("InvalidRequest", "limit must be between 1 and 100")
        collection = query.get("collection", "")
        page = self._page(account, collection, limit, query.get("cursor"), query.get("reverse") == "true")
        rows = [self._record(account, item) for item in page]
        more = {"cursor": page[-1].key.partition("/")[2]} if page else {}
        if self._faults.strikes(self._faults.of_account(account.number, Changing)):
            self._store.writes.add_post(account)
        return json_answer({**more, "records": rows})

    def get_record(self, query: Mapping[str, str]) -> Answer:
        account = self._here(query)
        if isinstance(account, Answer):
            return account
        key = f"{query.get('collection', '')}/{query.get('rkey', '')}"
        for item in self._store.listing(account):
            if item.key == key:
                return json_answer(self._record(account, item))
        return xrpc_error("RecordNotFound", f"Could not locate record: at://{account.did}/{key}")

    def describe_repo(self, query: Mapping[str, str]) -> Answer:
        account = self._here(query)
        if isinstance(account, Answer):
            return account
        generation = 1 if self._faults.of_account(account.number, RotatedKey) else 0
        return json_answer(
            {
                "handle": account.handle,
                "did": account.did,
                "didDoc": did_document(account, self._origin, generation),
                "collections": self._store.collections(account),
                "handleIsCorrect": True,
            }
        )

    def describe_server(self, query: Mapping[str, str]) -> Answer:
        did = "did:web:" + self._origin.removeprefix("http://").replace(":", "%3A")
        return json_answer({"did": did, "availableUserDomains": [".test"], "inviteCodeRequired": False})

    def _synced(self, query: Mapping[str, str]) -> Account | Answer:
        """The account of a sync method, or the error of its state."""
        did = query.get("did", "")
        if not did.startswith("did:"):
            return xrpc_error("InvalidRequest", "Error: Params must have the property did as a DID")
        account = self._population.find(did)
        status: Status = "not_found" if account is None else self.status(account)
        if account is None or status != "active":
            error, message = SYNC_ERRORS[status]
            return xrpc_error(error, message + did)
        return account

    def _here(self, query: Mapping[str, str]) -> Account | Answer:
        """The account of a repo method: these do not say why there is none."""
        name = query.get("repo", "")
        account = self._population.find(name)
        if account is None or self.status(account) != "active":
            return xrpc_error("InvalidRequest", f"Could not find repo: {name}")
        return account

    def _page(
        self, account: Account, collection: str, limit: int, cursor: str | None, ascending: bool
    ) -> list[Listed]:
        listing = self._store.listing(account)
        start = bisect_left(listing, f"{collection}/", key=_key)
        end = bisect_left(listing, f"{collection}0", key=_key)  # "0" follows "/"
        if ascending:
            if cursor is not None:
                start = max(start, bisect_right(listing, f"{collection}/{cursor}", key=_key))
            return listing[start : min(end, start + limit)]
        if cursor is not None:
            end = min(end, bisect_left(listing, f"{collection}/{cursor}", key=_key))
        return listing[max(start, end - limit) : max(start, end)][::-1]

    def _record(self, account: Account, item: Listed) -> dict[str, object]:
        return {
            "uri": f"at://{account.did}/{item.key}",
            "cid": item.cid,
            "value": orjson.Fragment(item.value),
        }

    def _claims(self, account: Account) -> bool:
        foreign = self._faults.of_host(self._number, ForeignRows)
        return foreign is not None and account.number in foreign.accounts

    def _row(self, account: Account, status: Status) -> dict[str, object]:
        head = self._store.head(account)
        row: dict[str, object] = {"did": account.did, "head": head.cid, "rev": head.rev}
        return {**row, "active": True} if status == "active" else {**row, "active": False, "status": status}


def malformed_rows(count: int) -> list[object]:
    """Rows of listRepos as no host should send them."""
    wrong: list[object] = [
        {"did": "nobody"},
        {"did": 7, "active": True},
        {"head": "bafy"},
        "did:plc:x",
        None,
        [],
    ]
    return [wrong[number % len(wrong)] for number in range(count)]


def _key(item: Listed) -> str:
    return item.key
