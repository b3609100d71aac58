"""The reference network does what the tests that lean on it take for granted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import psutil
import pytest
import pytest_asyncio

from schemas.errors import LocalServerError
from tests.reference import accounts
from tests.reference.install import HERE, node_version, run
from tests.reference.reference import ReferenceNetwork

pytestmark = pytest.mark.reference


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_accounts_resolve_at_the_plc_to_their_pds(
    reference_network: ReferenceNetwork, session: aiohttp.ClientSession
) -> None:
    assert len(reference_network.pds_urls) == 2
    for pds in reference_network.pds_urls:
        account = await accounts.create_account(session, pds)
        async with session.get(f"{reference_network.plc_url}/{account.did}") as response:
            document = await response.json(content_type=None)
        assert document["id"] == account.did
        assert document["alsoKnownAs"] == [f"at://{account.handle}"]
        assert [service["serviceEndpoint"] for service in document["service"]] == [pds]
        assert document["verificationMethod"][0]["id"].endswith("#atproto")


async def test_a_repository_as_its_owner_made_it(
    reference_network: ReferenceNetwork, session: aiohttp.ClientSession
) -> None:
    pds, other_pds = reference_network.pds_urls
    alice = await accounts.create_account(session, pds)
    bob = await accounts.create_account(session, other_pds)
    written = datetime(2025, 3, 1, 12, tzinfo=UTC)
    first = await accounts.create_record(session, alice, accounts.post("first", created_at=written))
    gone = await accounts.create_record(session, alice, accounts.post("regretted"))
    reply = await accounts.create_record(session, alice, accounts.post("and", reply_to=first))
    liked = await accounts.create_record(session, alice, accounts.like(first))
    shared = await accounts.create_record(session, alice, accounts.repost(first))
    followed = await accounts.create_record(session, alice, accounts.follow(bob.did))
    await accounts.put_record(session, alice, accounts.profile("Alise"), "self")
    profile = await accounts.put_record(session, alice, accounts.profile("Alice"), "self")
    await accounts.delete_record(session, alice, gone)
    many = await accounts.create_records(session, alice, [accounts.post(f"post {n}") for n in range(210)])

    records = await accounts.list_all_records(session, pds, alice.did)
    expected = [first, reply, liked, shared, followed, profile, *many]
    assert {f"at://{alice.did}/{path}": cid for path, (cid, _) in records.items()} == {
        record.uri: record.cid for record in expected
    }
    assert records["app.bsky.actor.profile/self"][1]["displayName"] == "Alice"
    assert records[f"app.bsky.feed.post/{first.rkey}"][1]["createdAt"] == "2025-03-01T12:00:00.000Z"
    assert await accounts.list_all_records(session, other_pds, bob.did) == {}


async def test_get_repo_answers_a_car(
    reference_network: ReferenceNetwork, session: aiohttp.ClientSession
) -> None:
    alice = await accounts.create_account(session, reference_network.pds_urls[0])
    await accounts.create_record(session, alice, accounts.post("hello"))
    url = f"{alice.pds}/xrpc/com.atproto.sync.getRepo"
    async with session.get(url, params={"did": alice.did}) as response:
        assert response.status == 200
        assert response.content_type == "application/vnd.ipld.car"
        content = await response.read()
    # CAR v1: the header's length, then DAG-CBOR of {"roots": [...], "version": 1}.
    assert content[1:].startswith(b"\xa2\x65roots\x81")
    assert b"hello" in content


@pytest.mark.parametrize(
    ("end", "error"),
    [(accounts.deactivate_account, "RepoDeactivated"), (accounts.take_account_down, "RepoTakendown")],
)
async def test_accounts_come_to_an_end(
    reference_network: ReferenceNetwork,
    session: aiohttp.ClientSession,
    end: accounts.AccountAction,
    error: str,
) -> None:
    alice = await accounts.create_account(session, reference_network.pds_urls[0])
    await end(session, alice)
    with pytest.raises(accounts.PdsRefused, match=error):
        await accounts.call(session, alice.pds, "com.atproto.sync.getRepo", params={"did": alice.did})


async def test_servers_keep_to_this_machine(reference_network: ReferenceNetwork) -> None:
    process = reference_network.process
    assert process is not None
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(process.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"] * 3


def test_a_missing_node_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalServerError, match="need node and npm, version 20 or newer"):
        node_version()


def test_a_failed_installation_shows_its_output() -> None:
    with pytest.raises(LocalServerError, match=r"(?s)npm run no-such-script failed.*no-such-script"):
        run(["npm", "run", "no-such-script"], HERE)


def test_the_lock_names_no_registry() -> None:
    assert '"resolved"' not in (HERE / "package-lock.json").read_text()
