"""PLC, PDSs and relay without any fault, over real HTTP."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import libipld
import pytest

from local.network.network import Network
from local.network.repo import cid_of, cid_text
from schemas.errors import LocalServerError

Json = dict[str, Any]


async def get(http: aiohttp.ClientSession, url: str, **params: str | int) -> tuple[int, Json]:
    async with http.get(url, params=params) as response:
        return response.status, json.loads(await response.read())


def small_network() -> Network:
    return Network(seed=11, accounts=9, hosts=3, records=130)


async def list_all(http: aiohttp.ClientSession, pds: str, did: str, reverse: str) -> list[Json]:
    """All records by describeRepo and listRecords, page after page."""
    _, described = await get(http, f"{pds}/xrpc/com.atproto.repo.describeRepo", repo=did)
    found: list[Json] = []
    for collection in described["collections"]:
        params: dict[str, str | int] = {"repo": did, "collection": collection, "limit": 10}
        while True:
            _, page = await get(http, f"{pds}/xrpc/com.atproto.repo.listRecords", reverse=reverse, **params)
            assert not {r["uri"] for r in page["records"]} & {r["uri"] for r in found}
            assert len(page["records"]) <= 10
            found += page["records"]
            if "cursor" not in page:
                break
            params["cursor"] = page["cursor"]
    return found


@pytest.mark.parametrize("reverse", ["false", "true"])
async def test_the_truth_is_what_list_records_answers(http: aiohttp.ClientSession, reverse: str) -> None:
    async with small_network() as network:
        for truth in network.truth():
            listed = await list_all(http, network.hosts[truth.host], truth.did, reverse)
            got = {record["uri"]: (record["cid"], record["value"]) for record in listed}
            assert len(listed) == len(got)
            assert got == {record.uri: (record.cid, record.record) for record in truth.records}
            assert truth.state == "ok"


async def test_pages_are_ordered_and_do_not_overlap(http: aiohttp.ClientSession) -> None:
    async with small_network() as network:
        for reverse in ("false", "true"):
            listed = await list_all(http, network.hosts[0], network.dids[0], reverse)
            likes = [record["uri"] for record in listed if "/app.bsky.feed.like/" in record["uri"]]
            assert likes == sorted(likes, reverse=reverse == "false")
            assert len(likes) == len(set(likes)) > 0


async def test_the_truth_is_what_get_repo_answers(http: aiohttp.ClientSession) -> None:
    async with small_network() as network:
        for truth in network.truth():
            url = f"{network.hosts[truth.host]}/xrpc/com.atproto.sync.getRepo"
            async with http.get(url, params={"did": truth.did}) as response:
                assert response.content_type == "application/vnd.ipld.car"
                assert response.headers["Transfer-Encoding"] == "chunked"
                header, blocks = libipld.decode_car(await response.read())
            cids = {cid_text(cid) for cid in blocks}
            assert {record.cid for record in truth.records} <= cids
            head = cid_text(header["roots"][0])
            url = f"{network.hosts[truth.host]}/xrpc/com.atproto.sync.getLatestCommit"
            _, commit = await get(http, url, did=truth.did)
            assert commit == {"cid": head, "rev": blocks[header["roots"][0]]["rev"]}


async def test_plc_answers_documents_as_the_real_one(http: aiohttp.ClientSession) -> None:
    async with small_network() as network:
        did = network.dids[4]
        async with http.get(f"{network.plc_url}/{did}") as response:
            assert response.content_type == "application/did+ld+json"
            document = json.loads(await response.read())
        key = network.account(4).key().multibase
        assert document["id"] == did
        assert document["alsoKnownAs"] == [f"at://{network.handles[4]}"]
        assert document["verificationMethod"] == [
            {"id": f"{did}#atproto", "type": "Multikey", "controller": did, "publicKeyMultibase": key}
        ]
        assert document["service"][0]["id"] == "#atproto_pds"
        assert document["service"][0]["serviceEndpoint"] == network.hosts[1]
        stranger = "did:plc:" + "a" * 24
        status, body = await get(http, f"{network.plc_url}/{stranger}")
        assert (status, body) == (404, {"message": f"DID not registered: {stranger}"})


async def test_handles_resolve_at_plc_and_at_every_pds(http: aiohttp.ClientSession) -> None:
    async with small_network() as network:
        for origin in (network.plc_url, network.hosts[2]):
            url = f"{origin}/xrpc/com.atproto.identity.resolveHandle"
            assert await get(http, url, handle=network.handles[5]) == (200, {"did": network.dids[5]})
            status, body = await get(http, url, handle="nobody.test")
            assert (status, body["error"]) == (400, "HandleNotFound")


async def test_list_repos_pages_over_the_hosts_own_accounts(http: aiohttp.ClientSession) -> None:
    async with small_network() as network:
        rows: list[Json] = []
        page: Json = {"cursor": "0"}
        while "cursor" in page:
            url = f"{network.hosts[1]}/xrpc/com.atproto.sync.listRepos"
            _, page = await get(http, url, limit=2, cursor=page["cursor"])
            rows += page["repos"]
        assert [row["did"] for row in rows] == [network.dids[n] for n in (1, 4, 7)]
        for row in rows:
            url = f"{network.hosts[1]}/xrpc/com.atproto.sync.getLatestCommit"
            assert await get(http, url, did=row["did"]) == (200, {"cid": row["head"], "rev": row["rev"]})
            assert row["active"] is True


async def test_the_relay_lists_hosts_and_all_accounts(http: aiohttp.ClientSession) -> None:
    async with small_network() as network:
        sync = f"{network.relay_url}/xrpc/com.atproto.sync"
        _, page = await get(http, f"{sync}.listHosts", limit=2)
        _, rest = await get(http, f"{sync}.listHosts", limit=2, cursor=page["cursor"])
        hosts = page["hosts"] + rest["hosts"]
        assert [f"http://{host['hostname']}" for host in hosts] == network.hosts
        assert [host["accountCount"] for host in hosts] == [3, 3, 3]
        assert "cursor" not in rest
        _, first = await get(http, f"{sync}.listRepos", limit=5)
        _, second = await get(http, f"{sync}.listRepos", limit=5, cursor=first["cursor"])
        assert [row["did"] for row in first["repos"] + second["repos"]] == network.dids
        wanted = "app.bsky.graph.block"
        _, blockers = await get(http, f"{sync}.listReposByCollection", collection=wanted)
        have = [t.did for t in network.truth() if any(f"/{wanted}/" in record.uri for record in t.records)]
        assert [row["did"] for row in blockers["repos"]] == have


async def test_single_records_and_the_small_methods(http: aiohttp.ClientSession) -> None:
    async with small_network() as network:
        truth = next(network.truth())
        xrpc = f"{network.hosts[0]}/xrpc"
        did, collection, rkey = truth.records[3].uri.removeprefix("at://").split("/")
        url = f"{xrpc}/com.atproto.repo.getRecord"
        status, record = await get(http, url, repo=did, collection=collection, rkey=rkey)
        uri, cid, value = truth.records[3]
        assert (status, record) == (200, {"uri": uri, "cid": cid, "value": value})
        status, body = await get(http, url, repo=did, collection=collection, rkey="none")
        assert (status, body["error"]) == (400, "RecordNotFound")
        assert (await get(http, f"{xrpc}/_health"))[0] == 200
        _, server = await get(http, f"{xrpc}/com.atproto.server.describeServer")
        assert server["did"].startswith("did:web:127.0.0.1%3A")
        _, described = await get(http, f"{xrpc}/com.atproto.repo.describeRepo", repo=network.handles[0])
        assert described["did"] == did
        _, state = await get(http, f"{xrpc}/com.atproto.sync.getRepoStatus", did=did)
        assert state == {"did": did, "active": True, "rev": network.account(0).rev}


@pytest.mark.parametrize(
    ("method", "params", "status", "error"),
    [
        ("com.atproto.sync.getRepo", {"did": "did:plc:" + "a" * 24}, 400, "RepoNotFound"),
        ("com.atproto.sync.getRepo", {}, 400, "InvalidRequest"),
        ("com.atproto.sync.getLatestCommit", {"did": "did:plc:" + "a" * 24}, 400, "RepoNotFound"),
        ("com.atproto.sync.getRepoStatus", {"did": "did:plc:" + "a" * 24}, 400, "RepoNotFound"),
        ("com.atproto.sync.listRepos", {"limit": "1001"}, 400, "InvalidRequest"),
        ("com.atproto.repo.listRecords", {"repo": "ada-0.test", "limit": "101"}, 400, "InvalidRequest"),
        ("com.atproto.repo.listRecords", {"repo": "ada-0.test", "limit": "x"}, 400, "InvalidRequest"),
        ("com.atproto.repo.listRecords", {"repo": "nobody.test"}, 400, "InvalidRequest"),
        ("com.atproto.repo.describeRepo", {"repo": "nobody.test"}, 400, "InvalidRequest"),
        ("com.atproto.repo.createRecord", {}, 501, "MethodNotImplemented"),
    ],
)
async def test_wrong_requests_are_named(
    http: aiohttp.ClientSession, method: str, params: dict[str, str], status: int, error: str
) -> None:
    async with small_network() as network:
        answered, body = await get(http, f"{network.hosts[0]}/xrpc/{method}", **params)
        assert (answered, body["error"]) == (status, error)


async def test_an_account_is_not_found_on_a_host_it_never_lived_on(http: aiohttp.ClientSession) -> None:
    async with small_network() as network:
        url = f"{network.hosts[2]}/xrpc/com.atproto.sync.getRepo"
        status, body = await get(http, url, did=network.dids[0])
        assert (status, body["error"]) == (400, "RepoNotFound")


async def test_truth_over_http_is_the_truth(http: aiohttp.ClientSession) -> None:
    async with small_network() as network:
        async with http.get(f"{network.plc_url}/_truth") as response:
            lines = [json.loads(line) for line in (await response.read()).splitlines()]
        for line, truth in zip(lines, network.truth(), strict=True):
            assert line["host"] == network.hosts[truth.host]
            assert (line["did"], line["state"], line["reason"]) == (truth.did, "ok", "")
            assert line["records"] == [record._asdict() for record in truth.records]
        async with http.get(f"{network.plc_url}/_truth", params={"records": "0"}) as response:
            brief = [json.loads(line) for line in (await response.read()).splitlines()]
        assert [line["did"] for line in brief] == network.dids
        assert not any(line["records"] for line in brief)


async def test_repositories_pushed_out_of_the_budget_come_back_the_same(http: aiohttp.ClientSession) -> None:
    async with Network(seed=11, accounts=9, hosts=3, records=130, car_budget=1) as network:
        url = f"{network.hosts[0]}/xrpc/com.atproto.sync.getRepo"
        bodies: dict[str, set[bytes]] = {}
        for number in (0, 3, 6) * 2:
            async with http.get(url, params={"did": network.dids[number]}) as response:
                bodies.setdefault(network.dids[number], set()).add(cid_of(await response.read()))
        assert [len(seen) for seen in bodies.values()] == [1, 1, 1]


async def test_warming_builds_what_is_served_later(http: aiohttp.ClientSession) -> None:
    network = small_network()
    warmed = await network.warm()
    async with network:
        sent = 0
        for number, did in enumerate(network.dids):
            url = f"{network.hosts[number % 3]}/xrpc/com.atproto.sync.getRepo"
            async with http.get(url, params={"did": did}) as response:
                sent += len(await response.read())
    assert sent == warmed


async def test_a_taken_port_is_an_error_and_nothing_keeps_listening() -> None:
    async with small_network() as first:
        port = int(first.plc_url.rpartition(":")[2])
        second = Network(seed=1, accounts=1, hosts=1, records=1, ports=[0, port])
        with pytest.raises(LocalServerError, match="free the port"):
            await second.start()
    # The port is free again now that the first network is stopped.
    async with Network(seed=1, accounts=1, hosts=1, records=1, ports=[port]) as third:
        assert third.plc_url.endswith(f":{port}")
