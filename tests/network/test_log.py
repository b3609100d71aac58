"""The simulated directory's log, over real HTTP: what plc.directory's /export looks like."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from local.network.faults import Incomplete, Moved, RotatedKey, Tombstoned
from local.network.keys import did_key
from local.network.network import Network

Json = dict[str, Any]
ACCOUNTS = 9


async def export(http: aiohttp.ClientSession, network: Network, **params: str | int) -> list[Json]:
    async with http.get(f"{network.plc_url}/export", params=params) as response:
        assert (response.status, response.content_type) == (200, "application/jsonlines")
        return [json.loads(line) for line in (await response.text()).splitlines()]


def network_with(*faults: Any) -> Network:
    return Network(seed=11, accounts=ACCOUNTS, hosts=3, records=1, faults=faults)


async def test_pages_by_number_are_the_whole_log_in_any_size(http: aiohttp.ClientSession) -> None:
    async with network_with() as network:
        whole = await export(http, network, after=0)
        assert [row["seq"] for row in whole] == list(range(1, ACCOUNTS + 3))
        paged: list[Json] = []
        while page := await export(http, network, after=len(paged), count=4):
            paged += page
        assert paged == whole
        assert all(row["type"] == "sequenced_op" and "nullified" not in row for row in whole)
        assert {row["operation"]["type"] for row in whole[:ACCOUNTS]} == {"create", "plc_operation"}
        assert [row["did"] for row in whole[:ACCOUNTS]] == network.dids
        assert whole[4]["operation"]["service"] == network.hosts[1]


async def test_the_same_seed_makes_the_same_log_but_for_ports(http: aiohttp.ClientSession) -> None:
    logs = []
    for _ in range(2):
        async with network_with(RotatedKey(1), Tombstoned(2)) as network:
            text = json.dumps(
                [row["operation"] | {"sig": ""} for row in await export(http, network, after=0)]
            )
            for number, origin in enumerate(network.hosts):
                text = text.replace(origin, f"host{number}")
            logs.append([{**op, "prev": bool(op.get("prev"))} for op in json.loads(text)])
    assert logs[0] == logs[1]


async def test_pages_by_time_mark_what_was_taken_back_and_cut_instants_apart(
    http: aiohttp.ClientSession,
) -> None:
    async with network_with() as network:
        rows = await export(http, network)
        assert all("seq" not in row and "type" not in row for row in rows)
        taken_back = [row for row in rows if row["nullified"]]
        assert [row["did"] for row in taken_back] == [network.dids[-1]]
        won_back = rows[-1]
        genesis = rows[ACCOUNTS - 1]
        assert won_back["operation"]["prev"] == taken_back[0]["operation"]["prev"] == genesis["cid"]
        first = await export(http, network, count=1)
        behind = await export(http, network, after=first[-1]["createdAt"])
        assert len(behind) == len(rows) - 2, "the second account has the first one's instant"


async def test_faults_are_operations_in_the_order_in_which_they_come(http: aiohttp.ClientSession) -> None:
    async with network_with(Moved(1, to_host=2, stale_answers=3)) as network:
        begin = ACCOUNTS + 2
        (moved,) = await export(http, network, after=begin)
        assert moved["did"] == network.dids[1]
        assert moved["operation"]["services"]["atproto_pds"]["endpoint"] == network.hosts[2]

        for fault in (RotatedKey(1), Incomplete(3, "pds"), Incomplete(4, "key"), Tombstoned(6)):
            await network.inject(fault)
            await export(http, network, after=begin)
        rows = await export(http, network, after=begin + 1)
        rotated, no_pds, no_key, tombstone = (row["operation"] for row in rows)
        assert [row["did"] for row in rows] == [network.dids[n] for n in (1, 3, 4, 6)]
        assert rotated["verificationMethods"]["atproto"] == did_key(network.account(1).key(1))
        assert rotated["services"] == moved["operation"]["services"]
        assert rotated["prev"] == moved["cid"]
        assert (no_pds["services"], no_key["verificationMethods"]) == ({}, {})
        assert tombstone["type"] == "plc_tombstone"

        await network.withdraw(Tombstoned(6))
        (recovered,) = await export(http, network, after=begin + 5)
        assert recovered["operation"]["prev"] == tombstone["prev"]
        assert [row["nullified"] for row in await export(http, network)][-2:] == [True, False]
        times = [
            datetime.fromisoformat(row["createdAt"]).astimezone(UTC) for row in await export(http, network)
        ]
        assert times == sorted(times)


@pytest.mark.parametrize("params", [{"count": "0"}, {"count": "x"}, {"after": "yesterday"}])
async def test_wrong_parameters(http: aiohttp.ClientSession, params: dict[str, str]) -> None:
    async with network_with() as network, http.get(f"{network.plc_url}/export", params=params) as response:
        assert response.status == 400
        assert "Invalid" in (await response.json())["message"]


async def test_a_network_without_accounts_has_an_empty_log(http: aiohttp.ClientSession) -> None:
    async with Network(seed=1, accounts=0, hosts=1, records=1) as network:
        assert await export(http, network, after=0) == []
