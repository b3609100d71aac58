"""Accounts and records on a reference PDS, through its own API (com.atproto.*): what a user's app would do.

Also the other way round: ``list_all_records`` is what the PDS itself says is in a repository.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

Record = dict[str, Any]


@dataclass(frozen=True)
class Account:
    """An account and the token that lets us write as its owner. ``pds`` is the PDS's URL."""

    did: str
    handle: str
    pds: str
    token: str


@dataclass(frozen=True)
class Written:
    """A record as the PDS confirmed it."""

    uri: str
    cid: str

    @property
    def rkey(self) -> str:
        return self.uri.rpartition("/")[2]

    @property
    def strong_ref(self) -> dict[str, str]:
        return {"uri": self.uri, "cid": self.cid}


AccountAction = Callable[[aiohttp.ClientSession, Account], Awaitable[None]]


class PdsRefused(Exception):
    """The PDS answered an error; its JSON is in the text."""


async def call(
    session: aiohttp.ClientSession,
    pds: str,
    method: str,
    *,
    body: Mapping[str, Any] | None = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One XRPC call: a procedure (POST) if there is a ``body``, else a query. Raises PdsRefused."""
    verb = "GET" if body is None else "POST"
    url = f"{pds}/xrpc/{method}"
    async with session.request(verb, url, json=body, params=params, headers=headers) as response:
        if response.status != 200:
            raise PdsRefused(f"{method}: {response.status} {await response.text()}")
        # Some procedures answer nothing.
        answer: dict[str, Any] = await response.json() if response.content_type == "application/json" else {}
        return answer


async def call_as(
    session: aiohttp.ClientSession, account: Account, method: str, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One XRPC call as the account's owner."""
    headers = {"Authorization": f"Bearer {account.token}"}
    return await call(session, account.pds, method, body=body, headers=headers)


async def create_account(session: aiohttp.ClientSession, pds: str) -> Account:
    """A new account with a handle that nobody has, registered at the PLC."""
    name = f"a{secrets.token_hex(6)}"
    body = {"handle": f"{name}.test", "email": f"{name}@example.test", "password": secrets.token_hex(8)}
    made = await call(session, pds, "com.atproto.server.createAccount", body=body)
    return Account(made["did"], made["handle"], pds, made["accessJwt"])


async def deactivate_account(session: aiohttp.ClientSession, account: Account) -> None:
    await call_as(session, account, "com.atproto.server.deactivateAccount", {})


async def take_account_down(session: aiohttp.ClientSession, account: Account) -> None:
    """What a moderator of the host does."""
    body = {
        "subject": {"$type": "com.atproto.admin.defs#repoRef", "did": account.did},
        "takedown": {"applied": True},
    }
    headers = {"Authorization": aiohttp.encode_basic_auth("admin", "admin")}
    await call(session, account.pds, "com.atproto.admin.updateSubjectStatus", body=body, headers=headers)


async def create_record(
    session: aiohttp.ClientSession, account: Account, record: Record, *, rkey: str | None = None
) -> Written:
    """Create a record in the collection that its ``$type`` names. The PDS validates it by its lexicon."""
    body = {"repo": account.did, "collection": record["$type"], "record": record}
    if rkey is not None:
        body["rkey"] = rkey
    made = await call_as(session, account, "com.atproto.repo.createRecord", body)
    return Written(made["uri"], made["cid"])


async def put_record(session: aiohttp.ClientSession, account: Account, record: Record, rkey: str) -> Written:
    """Create or update the record of that key."""
    body = {"repo": account.did, "collection": record["$type"], "rkey": rkey, "record": record}
    made = await call_as(session, account, "com.atproto.repo.putRecord", body)
    return Written(made["uri"], made["cid"])


async def delete_record(session: aiohttp.ClientSession, account: Account, written: Written) -> None:
    collection, rkey = written.uri.split("/")[-2:]
    body = {"repo": account.did, "collection": collection, "rkey": rkey}
    await call_as(session, account, "com.atproto.repo.deleteRecord", body)


async def create_records(
    session: aiohttp.ClientSession, account: Account, records: Sequence[Record]
) -> list[Written]:
    """Create many records, at most 200 a commit, as the PDS allows."""
    written = []
    for start in range(0, len(records), 200):
        writes = [
            {"$type": "com.atproto.repo.applyWrites#create", "collection": record["$type"], "value": record}
            for record in records[start : start + 200]
        ]
        body = {"repo": account.did, "writes": writes}
        made = await call_as(session, account, "com.atproto.repo.applyWrites", body)
        written += [Written(result["uri"], result["cid"]) for result in made["results"]]
    return written


def post(text: str, *, reply_to: Written | None = None, created_at: datetime | None = None) -> Record:
    record: Record = {
        "$type": "app.bsky.feed.post",
        "text": text,
        "langs": ["en"],
        "createdAt": instant(created_at),
    }
    if reply_to is not None:
        record["reply"] = {"root": reply_to.strong_ref, "parent": reply_to.strong_ref}
    return record


def like(subject: Written, *, created_at: datetime | None = None) -> Record:
    return {"$type": "app.bsky.feed.like", "subject": subject.strong_ref, "createdAt": instant(created_at)}


def repost(subject: Written, *, created_at: datetime | None = None) -> Record:
    return {"$type": "app.bsky.feed.repost", "subject": subject.strong_ref, "createdAt": instant(created_at)}


def follow(did: str, *, created_at: datetime | None = None) -> Record:
    return {"$type": "app.bsky.graph.follow", "subject": did, "createdAt": instant(created_at)}


def profile(name: str) -> Record:
    """For ``put_record`` with the key ``self``."""
    return {"$type": "app.bsky.actor.profile", "displayName": name}


def instant(moment: datetime | None = None) -> str:
    """As the protocol writes it (default: now), UTC in milliseconds."""
    moment = (moment or datetime.now(UTC)).astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def list_all_records(
    session: aiohttp.ClientSession, pds: str, did: str
) -> dict[str, tuple[str, Record]]:
    """Every record by its path, ``collection/rkey``, with its CID and its value, as the PDS lists them
    (com.atproto.repo.describeRepo and listRecords)."""
    described = await call(session, pds, "com.atproto.repo.describeRepo", params={"repo": did})
    records: dict[str, tuple[str, Record]] = {}
    for collection in described["collections"]:
        params = {"repo": did, "collection": collection, "limit": "100"}
        while True:
            page = await call(session, pds, "com.atproto.repo.listRecords", params=params)
            for row in page["records"]:
                rkey = row["uri"].rpartition("/")[2]
                records[f"{collection}/{rkey}"] = (row["cid"], row["value"])
            if not (cursor := page.get("cursor")):
                break
            params["cursor"] = cursor
    return records
