"""Accounts that write while the network runs, as hosts show it."""

from __future__ import annotations

import aiohttp

from atp.car import Car
from local.network.faults import Changing, ServerError
from local.network.network import Network
from local.network.repo import cid_of, encode_record


async def test_an_account_that_changes_with_every_page(http: aiohttp.ClientSession) -> None:
    async with Network(seed=1, accounts=1, hosts=1, records=30, faults=[Changing(0, first=2)]) as network:
        did, pds = network.dids[0], network.hosts[0]
        revs = []
        for _ in range(4):
            query = {"repo": did, "collection": "app.bsky.feed.post", "limit": "1"}
            async with http.get(f"{pds}/xrpc/com.atproto.repo.listRecords", params=query) as response:
                (record,) = (await response.json())["records"]
            async with http.get(
                f"{pds}/xrpc/com.atproto.sync.getLatestCommit", params={"did": did}
            ) as response:
                revs.append((await response.json())["rev"])
        assert network.account(0).rev < revs[0] < revs[1] == revs[2] == revs[3]
        assert record["uri"].endswith(f"app.bsky.feed.post/{revs[1]}")
        assert record["uri"] in {r.uri for r in next(network.truth()).records}


async def test_the_difference_to_a_rev(http: aiohttp.ClientSession) -> None:
    async with Network(seed=1, accounts=1, hosts=1, records=300) as network:
        did, pds = network.dids[0], network.hosts[0]
        first = network.account(0).rev

        async def car(since: str | None = None) -> Car:
            query = {"did": did} | ({} if since is None else {"since": since})
            async with http.get(f"{pds}/xrpc/com.atproto.sync.getRepo", params=query) as response:
                return Car(await response.read())

        whole, unchanged = await car(), await car(first)
        assert (len(unchanged), unchanged.root) == (0, whole.root)
        second = network.write(0, "com.example.note/a", {"text": "new"})
        network.write(0, "app.bsky.actor.profile/self", None)
        head, difference = await car(), await car(first)
        assert difference.root == head.root != whole.root
        assert 3 <= len(difference) < 20
        assert len(await car("2222222222222")) == len(head)
        assert len(await car(second)) < len(difference)
        third = network.write(0, "com.example.note/b", {"text": "new"})
        again = await car(second)
        assert third > second > first
        assert again.number(cid_of(encode_record({"text": "new"}))) is None, "a block that was there before"


async def test_a_fault_of_one_method(http: aiohttp.ClientSession) -> None:
    fault = ServerError(host=0, method="getRepo")
    async with Network(seed=1, accounts=1, hosts=1, records=3, faults=[fault]) as network:
        did, pds = network.dids[0], network.hosts[0]
        for method, status in (("getRepo", 502), ("getLatestCommit", 200)):
            async with http.get(f"{pds}/xrpc/com.atproto.sync.{method}", params={"did": did}) as response:
                assert response.status == status
