"""Each fault shows what it says, over real HTTP, and the truth knows how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal

import aiohttp
import libipld
import pytest

from local.network.faults import (
    Corrupted,
    CutShort,
    Fault,
    ForeignRows,
    HiddenLimit,
    HostDown,
    Incomplete,
    InvalidRecord,
    ListedAs,
    MalformedRows,
    Moved,
    RateLimited,
    RotatedKey,
    ServerError,
    Slow,
    Stalled,
    Tombstoned,
    Unavailable,
)
from local.network.network import Network
from local.network.repo import cid_of, cid_text
from local.network.store import INVALID_KEY
from local.network.truth import AccountTruth
from schemas.errors import ConfigError

Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

GET_REPO = "/xrpc/com.atproto.sync.getRepo"


class Clock:
    """Epoch seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.25

    def __call__(self) -> float:
        return self.now


def with_faults(*faults: Fault, **more: Any) -> Network:
    return Network(seed=5, accounts=6, hosts=2, records=60, spread=0, faults=faults, **more)


async def get_repo(http: aiohttp.ClientSession, network: Network, number: int, host: int = 0) -> bytes:
    async with http.get(network.hosts[host] + GET_REPO, params={"did": network.dids[number]}) as response:
        assert response.status == 200, await response.text()
        return await response.read()


async def refusal(http: aiohttp.ClientSession, network: Network, number: int, host: int = 0) -> str:
    """The XRPC error that getRepo answers."""
    async with http.get(network.hosts[host] + GET_REPO, params={"did": network.dids[number]}) as response:
        assert response.status == 400
        return str((await response.json())["error"])


async def document(http: aiohttp.ClientSession, network: Network, number: int) -> dict[str, Any]:
    async with http.get(f"{network.plc_url}/{network.dids[number]}") as response:
        assert response.status == 200
        body: dict[str, Any] = json.loads(await response.read())
        return body


async def answers(http: aiohttp.ClientSession, url: str) -> bool:
    """Whether the host answers at all."""
    try:
        async with http.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def refuses(http: aiohttp.ClientSession, url: str) -> bool:
    return not await answers(http, url)


async def has_arrived(network: Network) -> bool:
    return network.ledger.most_in_flight("pds0") == 1


def truth_of(network: Network, number: int) -> AccountTruth:
    return list(network.truth())[number]


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("takendown", "RepoTakendown"),
        ("suspended", "RepoSuspended"),
        ("deactivated", "RepoDeactivated"),
        ("not_found", "RepoNotFound"),
    ],
)
async def test_unavailable_accounts(
    http: aiohttp.ClientSession,
    state: Literal["takendown", "suspended", "deactivated", "not_found"],
    error: str,
) -> None:
    async with with_faults(Unavailable(account=2, state=state)) as network:
        assert await refusal(http, network, 2) == error
        assert truth_of(network, 2)[3:] == ("unavailable", error, [], [])
        await document(http, network, 2)  # PLC knows the account all the same
        async with http.get(network.hosts[0] + "/xrpc/com.atproto.sync.listRepos") as response:
            rows = {row["did"]: row for row in (await response.json())["repos"]}
        assert (network.dids[2] in rows) == (state != "not_found")
        if state != "not_found":
            assert (rows[network.dids[2]]["active"], rows[network.dids[2]]["status"]) == (False, state)
        params = {"repo": network.dids[2], "collection": "app.bsky.feed.post"}
        async with http.get(
            network.hosts[0] + "/xrpc/com.atproto.repo.listRecords", params=params
        ) as response:
            assert response.status == 400
        async with http.get(network.relay_url + "/xrpc/com.atproto.sync.listRepos") as response:
            listed = {row["did"]: row.get("status") for row in (await response.json())["repos"]}
        assert listed.get(network.dids[2]) == (None if state == "not_found" else state)
        assert len(await get_repo(http, network, 4)) > 0


async def test_a_moved_account(http: aiohttp.ClientSession) -> None:
    async with with_faults(Moved(account=0, to_host=1, stale_answers=2)) as network:
        named = [(await document(http, network, 0))["service"][0]["serviceEndpoint"] for _ in range(4)]
        assert named == [network.hosts[0]] * 2 + [network.hosts[1]] * 2
        assert await refusal(http, network, 0, host=0) == "RepoDeactivated"
        libipld.decode_car(await get_repo(http, network, 0, host=1))
        assert truth_of(network, 0).host == 1
        assert truth_of(network, 0).state == "ok"
        assert len(truth_of(network, 0).records) == 60
        for host, active in ((0, False), (1, True)):
            async with http.get(network.hosts[host] + "/xrpc/com.atproto.sync.listRepos") as response:
                rows = {row["did"]: row["active"] for row in (await response.json())["repos"]}
            assert rows[network.dids[0]] is active


async def test_what_hosts_list_beside_their_own(http: aiohttp.ClientSession) -> None:
    faults = (
        ListedAs(host=1, status="banned"),
        ForeignRows(host=1, accounts=(0,)),
        MalformedRows(host=0, rows=3),
        MalformedRows(host="relay", rows=2),
    )
    async with with_faults(*faults) as network:
        assert network.account(0).host == 0
        hosts = (await rows_of(http, network.relay_url, "listHosts"))["hosts"]
        assert [host["status"] for host in hosts] == ["active", "banned"]
        own, foreign = [(await rows_of(http, host, "listRepos"))["repos"] for host in network.hosts]
        assert network.dids[0] in [row["did"] for row in foreign if row["active"]]
        assert await refusal(http, network, 0, host=1) == "RepoNotFound"
        relayed = (await rows_of(http, network.relay_url, "listRepos"))["repos"]
        for rows, malformed in ((own, 3), (foreign, 0), (relayed, 2)):
            wrong = [r for r in rows if not isinstance(r, dict) or r.get("did") not in network.dids]
            assert len(wrong) == malformed


async def rows_of(http: aiohttp.ClientSession, origin: str, method: str) -> dict[str, Any]:
    async with http.get(f"{origin}/xrpc/com.atproto.sync.{method}") as response:
        found: dict[str, Any] = await response.json()
        return found


async def test_a_tombstone(http: aiohttp.ClientSession) -> None:
    async with with_faults(Tombstoned(account=1)) as network:
        async with http.get(f"{network.plc_url}/{network.dids[1]}") as response:
            assert response.status == 410
            assert "not available" in (await response.json())["message"]
        assert await refusal(http, network, 1, host=1) == "RepoNotFound"
        assert truth_of(network, 1)[3:] == ("unavailable", "IdentityTombstoned", [], [])


async def test_incomplete_documents(http: aiohttp.ClientSession) -> None:
    faults = (Incomplete(account=0, lacks="pds"), Incomplete(account=1, lacks="key"))
    async with with_faults(*faults) as network:
        assert (await document(http, network, 0))["service"] == []
        assert (await document(http, network, 1))["verificationMethod"] == []
        for number in (0, 1):
            assert truth_of(network, number)[3:] == ("unavailable", "IdentityIncomplete", [], [])


async def test_a_rotated_key_is_named_late(http: aiohttp.ClientSession) -> None:
    async with with_faults(RotatedKey(account=0, stale_answers=1)) as network:
        keys = []
        for _ in range(3):
            keys.append((await document(http, network, 0))["verificationMethod"][0]["publicKeyMultibase"])
        account = network.account(0)
        assert keys == [account.key(0).multibase, account.key(1).multibase, account.key(1).multibase]
        honest = with_faults()
        async with honest:
            assert await get_repo(http, honest, 0) != await get_repo(http, network, 0)
        assert truth_of(network, 0).state == "ok"


async def test_a_flipped_byte_breaks_one_records_hash(http: aiohttp.ClientSession) -> None:
    async with (
        with_faults(Corrupted(account=0), Corrupted(account=2, first=1)) as network,
        with_faults() as fine,
    ):
        honest, broken = await get_repo(http, fine, 0), await get_repo(http, network, 0)
        assert len(honest) == len(broken)
        assert sum(a != b for a, b in zip(honest, broken, strict=True)) == 1
        (_, before), (_, after) = libipld.decode_car(honest), libipld.decode_car(broken)
        changed = [cid for cid in before if before[cid] != after[cid]]
        assert len(changed) == 1
        assert cid_text(changed[0]) in [record.cid for record in truth_of(fine, 0).records]
        assert truth_of(network, 0)[3:] == ("corrupted", "BlockMismatch", [], [])
        assert await get_repo(http, network, 2) != await get_repo(http, network, 2)
        assert truth_of(network, 2).state == "ok"


async def test_a_wrong_signature_changes_the_commit_alone(http: aiohttp.ClientSession) -> None:
    async with with_faults(Corrupted(account=0, how="wrong_signature")) as network, with_faults() as fine:
        honest = libipld.decode_car(await get_repo(http, fine, 0))
        forged = libipld.decode_car(await get_repo(http, network, 0))
        commits = [blocks[header["roots"][0]] for header, blocks in (honest, forged)]
        assert commits[0].pop("sig") != commits[1].pop("sig")
        assert commits[0] == commits[1]
        assert truth_of(network, 0)[3:] == ("corrupted", "SignatureInvalid", [], [])


async def test_a_missing_block_for_the_first_requests_or_for_ever(http: aiohttp.ClientSession) -> None:
    for_ever = Corrupted(account=0, how="missing_block")
    at_first = Corrupted(account=2, how="missing_block", first=2)
    async with with_faults(for_ever, at_first) as network:

        async def missing(number: int) -> int:
            header, blocks = libipld.decode_car(await get_repo(http, network, number))
            return len(set(nodes_named(blocks, blocks[header["roots"][0]]["data"])) - set(blocks))

        assert [await missing(0) for _ in range(4)] == [1, 1, 1, 1]
        assert [await missing(2) for _ in range(4)] == [1, 1, 0, 0]
        assert truth_of(network, 0)[3:] == ("corrupted", "BlockMissing", [], [])
        assert truth_of(network, 2).state == "ok"


def nodes_named(blocks: dict[bytes, Any], node: bytes | None) -> Iterator[bytes]:
    """All nodes of a tree that the nodes present lead to."""
    if node is None:
        return
    yield node
    if node in blocks:
        for below in (blocks[node]["l"], *(entry["t"] for entry in blocks[node]["e"])):
            yield from nodes_named(blocks, below)


async def test_an_invalid_record_is_dead_lettered_alone(http: aiohttp.ClientSession) -> None:
    async with with_faults(InvalidRecord(account=0)) as network:
        _, blocks = libipld.decode_car(await get_repo(http, network, 0))
        truth = truth_of(network, 0)
        assert [record.uri for record in truth.invalid] == [f"at://{truth.did}/{INVALID_KEY}"]
        assert truth.invalid[0].record["score"] == 0.5
        assert len(truth.records) == 60
        floats = {cid_text(cid) for cid, block in blocks.items() if block.get("score") == 0.5}
        assert floats == {truth.invalid[0].cid}
        collection, rkey = INVALID_KEY.split("/")
        params = {"repo": truth.did, "collection": collection, "rkey": rkey}
        async with http.get(network.hosts[0] + "/xrpc/com.atproto.repo.getRecord", params=params) as response:
            assert (await response.json())["value"]["score"] == 0.5


async def statuses(http: aiohttp.ClientSession, url: str, times: int) -> list[tuple[int, Any]]:
    answers = []
    for _ in range(times):
        async with http.get(url) as response:
            answers.append((response.status, response.headers))
    return answers


async def test_a_rate_limited_host_counts_in_fixed_windows(http: aiohttp.ClientSession) -> None:
    clock = Clock()
    async with with_faults(RateLimited(host=0, limit=3, window=60), clock=clock) as network:
        url = network.hosts[0] + "/xrpc/_health"
        answers = await statuses(http, url, 2)
        clock.now += 50  # the window does not slide: it began with the first request
        answers += await statuses(http, url, 3)
        assert [status for status, _ in answers] == [200, 200, 200, 429, 429]
        assert [headers["RateLimit-Remaining"] for _, headers in answers] == ["2", "1", "0", "0", "0"]
        assert {headers["RateLimit-Reset"] for _, headers in answers} == {"1790000060"}
        assert {headers["RateLimit-Limit"] for _, headers in answers} == {"3"}
        assert {headers["RateLimit-Policy"] for _, headers in answers} == {"3;w=60"}
        assert not any("Retry-After" in headers for _, headers in answers)  # as the reference PDS
        clock.now += 10
        assert [status for status, _ in await statuses(http, url, 4)] == [200, 200, 200, 429]
        assert [status for status, _ in await statuses(http, network.hosts[1] + "/xrpc/_health", 5)] == [
            200
        ] * 5
        assert network.ledger.count(host="pds0", status=429) == 3


async def test_get_repo_can_have_a_bucket_of_its_own(http: aiohttp.ClientSession) -> None:
    fault = RateLimited(host=0, limit=1, window=60, repo_limit=2, reset="delta")
    async with with_faults(fault, clock=Clock()) as network:
        repo_url = f"{network.hosts[0]}{GET_REPO}?did={network.dids[0]}"
        repos = await statuses(http, repo_url, 3)
        others = await statuses(http, network.hosts[0] + "/xrpc/_health", 2)
        assert [status for status, _ in repos] == [200, 200, 429]
        assert [status for status, _ in others] == [200, 429]
        assert {headers["RateLimit-Limit"] for _, headers in repos} == {"2"}
        assert {headers["RateLimit-Reset"] for _, headers in repos} == {"60"}


async def test_a_hidden_limit_says_nothing(http: aiohttp.ClientSession) -> None:
    clock = Clock()
    async with with_faults(HiddenLimit(host=0, limit=2), clock=clock) as network:
        url = network.hosts[0] + "/xrpc/_health"
        answers = await statuses(http, url, 3)
        assert [status for status, _ in answers] == [200, 200, 429]
        assert not [name for name in answers[2][1] if "limit" in name.lower() or name == "Retry-After"]
        clock.now += 1
        assert [status for status, _ in await statuses(http, url, 1)] == [200]


async def test_a_hidden_limit_may_say_when_to_come_back(http: aiohttp.ClientSession) -> None:
    clock, fault = Clock(), HiddenLimit(host=0, limit=1, window=60, retry_after=True)
    async with with_faults(fault, clock=clock) as network:
        url = network.hosts[0] + "/xrpc/_health"
        answers = await statuses(http, url, 1)
        clock.now += 20.5
        answers += await statuses(http, url, 1)
        assert [status for status, _ in answers] == [200, 429]
        assert [headers.get("Retry-After") for _, headers in answers] == [None, "40"]
        assert not [name for name in answers[1][1] if "limit" in name.lower()]


async def test_plc_can_be_limited_too(http: aiohttp.ClientSession) -> None:
    async with with_faults(RateLimited(host="plc", limit=1, window=60)) as network:
        url = f"{network.plc_url}/{network.dids[0]}"
        assert [status for status, _ in await statuses(http, url, 2)] == [200, 429]


async def test_server_errors_for_the_first_requests(http: aiohttp.ClientSession) -> None:
    by_account, by_host = ServerError(account=0, first=2, status=503), ServerError(host=1, first=1)
    async with with_faults(by_account, by_host) as network:
        await document(http, network, 0)  # an account's fault is of its PDS only
        url = f"{network.hosts[0]}{GET_REPO}?did={network.dids[0]}"
        assert [status for status, _ in await statuses(http, url, 3)] == [503, 503, 200]
        health = network.hosts[1] + "/xrpc/_health"
        assert [status for status, _ in await statuses(http, health, 2)] == [502, 200]
        assert truth_of(network, 0).state == "ok"


@pytest.mark.parametrize("path", [GET_REPO, "/xrpc/com.atproto.sync.getLatestCommit"])
async def test_a_connection_cut_in_the_middle(http: aiohttp.ClientSession, path: str) -> None:
    async with with_faults(CutShort(account=0, first=2)) as network:
        params = {"did": network.dids[0]}
        for _ in range(2):
            async with http.get(network.hosts[0] + path, params=params) as response:
                assert response.status == 200
                with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
                    await response.read()
        async with http.get(network.hosts[0] + path, params=params) as response:
            whole = len(await response.read())
        endings = [(entry.ending, entry.bytes) for entry in network.ledger.requests(did=network.dids[0])]
        assert endings == [("cut", whole // 2), ("cut", whole // 2), ("complete", whole)]


async def test_slow_answers_outlast_a_clients_patience(http: aiohttp.ClientSession) -> None:
    async with with_faults(Slow(host=0, seconds=20, first=1)) as network:
        url = f"{network.hosts[0]}{GET_REPO}?did={network.dids[0]}"
        with pytest.raises(TimeoutError):
            async with http.get(url, timeout=aiohttp.ClientTimeout(total=0.2)):
                pass
        async with http.get(url) as response:
            assert response.status == 200
        assert len(await get_repo(http, network, 1, host=1)) > 0


async def test_slow_answers_come_at_once_when_the_fault_is_withdrawn(
    http: aiohttp.ClientSession, until: Until
) -> None:
    slow = Slow(host=0, seconds=3600)
    async with with_faults(slow) as network:
        url = f"{network.hosts[0]}{GET_REPO}?did={network.dids[0]}"
        waiting = asyncio.create_task(http.get(url))
        await until(lambda: has_arrived(network))
        assert network.ledger.in_flight("pds0") == 1
        await network.withdraw(slow)
        async with await waiting as response:
            assert response.status == 200
        await until(lambda: is_quiet(network))


async def is_quiet(network: Network) -> bool:
    return network.ledger.in_flight("pds0") == 0


async def test_a_host_that_is_down_refuses_and_comes_back(http: aiohttp.ClientSession, until: Until) -> None:
    async with with_faults(HostDown(host=0, lasts=0.3)) as network:
        url = network.hosts[0] + "/xrpc/_health"
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(url)
        await until(lambda: answers(http, url))
        assert truth_of(network, 0).state == "ok"


async def test_a_silent_host_takes_no_connection_until_it_is_back(
    http: aiohttp.ClientSession, until: Until
) -> None:
    down = HostDown(host=0, silent=True)
    async with with_faults(down) as network:
        url = network.hosts[0] + "/xrpc/_health"
        for _ in range(3):
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await http.get(url, timeout=aiohttp.ClientTimeout(sock_connect=0.3))
        assert network.ledger.count(host="pds0") == 0
        async with http.get(network.hosts[1] + "/xrpc/_health") as response:
            assert response.status == 200
        await network.withdraw(down)
        await until(lambda: answers(http, url))


async def read_on(http: aiohttp.ClientSession, url: str, arrived: list[bytes]) -> None:
    async with http.get(url, timeout=aiohttp.ClientTimeout(total=1.4)) as response:
        while True:
            arrived.append(await response.content.readany())


@pytest.mark.parametrize("at", ["head", "body", "trickle"])
async def test_an_answer_that_stalls_goes_on_when_it_may(
    http: aiohttp.ClientSession, until: Until, at: Any
) -> None:
    stalled = Stalled(host=0, at=at)
    async with with_faults(stalled) as network:
        url = f"{network.hosts[0]}{GET_REPO}?did={network.dids[0]}"
        arrived: list[bytes] = []
        with pytest.raises(TimeoutError):
            await read_on(http, url, arrived)
        whole = len(await get_repo(http, network, 1, host=1))
        sizes = [len(part) for part in arrived]
        assert {"head": sizes == [], "body": sum(sizes) > whole / 4, "trickle": sizes == [1, 1]}[at]
        await until(lambda: is_quiet(network))
        waiting = asyncio.create_task(http.get(url))
        await until(lambda: has_arrived(network))
        await network.withdraw(stalled)
        async with await waiting as response:
            assert await response.read() == await get_repo(http, network, 0)


async def test_a_host_that_goes_down_resets_what_is_open(http: aiohttp.ClientSession, until: Until) -> None:
    async with with_faults(Slow(host=0, seconds=30)) as network:
        waiting = asyncio.create_task(http.get(network.hosts[0] + "/xrpc/_health"))
        await until(lambda: has_arrived(network))
        await network.host_down(0)
        with pytest.raises(aiohttp.ClientError):
            await waiting
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(network.hosts[0] + "/xrpc/_health")
        assert [entry.ending for entry in network.ledger.requests(host="pds0")] == ["cut"]
        await network.withdraw(Slow(host=0, seconds=30))
        await network.host_up(0)
        async with http.get(network.hosts[0] + "/xrpc/_health") as response:
            assert response.status == 200


async def test_an_outage_that_begins_later_and_never_ends_by_itself(
    http: aiohttp.ClientSession, until: Until
) -> None:
    down = HostDown(host=1, begins=0.2)
    async with with_faults() as network:
        url = network.hosts[1] + "/xrpc/_health"
        await network.inject(down)
        assert await answers(http, url)
        await until(lambda: refuses(http, url))
        assert truth_of(network, 1)[3:] == ("unreachable", "HostUnreachable", [], [])
        await network.withdraw(down)
        async with http.get(url) as response:
            assert response.status == 200
        assert truth_of(network, 1).state == "ok"


async def test_an_outage_withdrawn_before_it_begins_never_happens(http: aiohttp.ClientSession) -> None:
    down = HostDown(host=0, begins=0.1)
    async with with_faults() as network:
        await network.inject(down)
        await network.withdraw(down)
        await asyncio.sleep(0.3)
        async with http.get(network.hosts[0] + "/xrpc/_health") as response:
            assert response.status == 200


async def test_faults_come_and_go_while_the_network_runs(http: aiohttp.ClientSession) -> None:
    async with with_faults() as network:
        honest = cid_of(await get_repo(http, network, 0))
        fault = InvalidRecord(account=0)
        await network.inject(fault)
        assert cid_of(await get_repo(http, network, 0)) != honest
        await network.withdraw(fault)
        assert cid_of(await get_repo(http, network, 0)) == honest
        again = ServerError(host=0, first=1)
        for _ in range(2):  # injected anew, it counts from zero
            await network.inject(again)
            assert [s for s, _ in await statuses(http, network.hosts[0] + "/xrpc/_health", 2)] == [502, 200]
            await network.withdraw(again)
        with pytest.raises(ValueError):
            await network.withdraw(fault)


@pytest.mark.parametrize(
    "fault",
    [
        Unavailable(account=6),
        Moved(account=0, to_host=2),
        HostDown(host=2),
        Slow(host=-1),
        Corrupted(account=-1),
    ],
)
async def test_faults_of_what_does_not_exist_are_refused(fault: Fault) -> None:
    with pytest.raises(ConfigError, match="doesn't have"):
        with_faults(fault)
    async with with_faults() as network:
        with pytest.raises(ConfigError, match="doesn't have"):
            await network.inject(fault)


def test_a_fault_of_the_wire_is_an_accounts_or_a_hosts() -> None:
    with pytest.raises(ConfigError, match="not both"):
        Slow()
    with pytest.raises(ConfigError, match="not both"):
        ServerError(account=0, host=0)


@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        (ServerError(account=0), ["UnexpectedResponse", "", ""]),
        (ServerError(host=1), ["", "UnexpectedResponse", ""]),
        (CutShort(host=0), ["HostUnreachable", "", "HostUnreachable"]),
        (CutShort(account=1), ["", "HostUnreachable", ""]),
        (HostDown(host="plc", begins=9), ["IdentityUnreachable"] * 3),
        (ServerError(host="plc"), ["IdentityUnreachable"] * 3),
        (ServerError(host="plc", first=3), [""] * 3),
        (CutShort(host=0, first=3), [""] * 3),
        (HostDown(host=0, silent=True), ["HostTimeout", "", "HostTimeout"]),
        (Stalled(account=1), ["", "HostTimeout", ""]),
        (Stalled(host=0, first=3), [""] * 3),
        (HostDown(host=0, lasts=3), [""] * 3),
        (Slow(host=0), [""] * 3),
        (HostDown(host="relay"), [""] * 3),
    ],
)
def test_the_truth_knows_which_faults_never_end(fault: Fault, reasons: list[str]) -> None:
    truths = list(with_faults(fault).truth())[:3]
    assert [truth.reason for truth in truths] == reasons
    assert [truth.state for truth in truths] == ["unreachable" if reason else "ok" for reason in reasons]
    assert [len(truth.records) for truth in truths] == [0 if reason else 60 for reason in reasons]


async def test_the_demos_network_has_its_four_faults(http: aiohttp.ClientSession) -> None:
    async with Network.demo(accounts=12, hosts=3, records=20) as network:
        truths = list(network.truth())
        assert [truth.state for truth in truths] == ["ok", "unavailable", "ok", "corrupted"] + ["ok"] * 8
        assert (await document(http, network, 2))["service"][0]["serviceEndpoint"] == network.hosts[2]
        assert (await document(http, network, 2))["service"][0]["serviceEndpoint"] == network.hosts[1]
        url = network.hosts[0] + "/xrpc/_health"
        assert 429 in [status for status, _ in await statuses(http, url, 4)]
    with pytest.raises(ConfigError):
        Network.demo(hosts=1)
