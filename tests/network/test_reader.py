"""The reader in ``atp`` and the simulated network judge each other: they share no code."""

from __future__ import annotations

import aiohttp
import orjson
import pytest

from atp.keys import from_verification_method
from atp.repo import BrokenRecord, Record, read
from local.network.faults import Corrupted, Fault, InvalidRecord, RotatedKey
from local.network.network import Network
from schemas.errors import BlockMissing, RepoError, SignatureInvalid

FAULTS: list[Fault] = [
    InvalidRecord(account=1),
    Corrupted(account=2, how="flipped_byte"),
    Corrupted(account=3, how="wrong_signature"),
    Corrupted(account=4, how="missing_block"),
    RotatedKey(account=6, stale_answers=1),
    Corrupted(account=7, how="missing_block", first=1),
]

AT_FIRST: dict[int, type[RepoError]] = {6: SignatureInvalid, 7: BlockMissing}
"""The accounts that only their second fetch proves, and what the first one ends with."""


async def fetch(http: aiohttp.ClientSession, network: Network, number: int) -> tuple[bytes, str]:
    """A repository and the signing key that PLC names, both over HTTP."""
    async with http.get(f"{network.plc_url}/{network.dids[number]}") as response:
        document = orjson.loads(await response.read())
    key = from_verification_method(document["verificationMethod"][0]).did_key()
    url = document["service"][0]["serviceEndpoint"] + "/xrpc/com.atproto.sync.getRepo"
    async with http.get(url, params={"did": network.dids[number]}) as response:
        return await response.read(), key


async def test_the_reader_finds_the_truth(http: aiohttp.ClientSession) -> None:
    async with Network(seed=2, accounts=24, hosts=2, records=200, faults=FAULTS) as network:
        for truth in network.truth():
            car, key = await fetch(http, network, truth.number)
            if truth.state == "corrupted":
                with pytest.raises(RepoError) as caught:
                    read(car, truth.did, key)
                assert caught.value.reason == truth.reason
                continue
            if truth.number in AT_FIRST:
                with pytest.raises(AT_FIRST[truth.number]):
                    read(car, truth.did, key)
                car, key = await fetch(http, network, truth.number)
            repo = read(car, truth.did, key)
            assert repo.rev == network.account(truth.number).rev
            found = list(repo.records())
            records = {
                f"at://{truth.did}/{r.collection}/{r.rkey}": (r.cid, orjson.loads(r.json))
                for r in found
                if isinstance(r, Record)
            }
            assert records == {record.uri: (record.cid, record.record) for record in truth.records}
            broken = [r.cid for r in found if isinstance(r, BrokenRecord)]
            assert broken == [record.cid for record in truth.invalid]
            assert len(broken) == (truth.number == 1)
