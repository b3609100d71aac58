"""Operations that the reference PLC took, read by the mirror: it has to say what the PLC's documents say.

The PLC judges signatures, order and nullification; its audit log has the rows of /export by time.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from atp.identity import Identity, Resolver
from atp.plc_import import import_file
from atp.plc_mirror import PlcMirror
from atp.plc_writer import MirrorWriter
from atp.xrpc import Client
from schemas.errors import IdentityNotFound, IdentityTombstoned
from tests.atp.builder import Signer, cbor, cid_of
from tests.reference import accounts
from tests.reference.reference import ReferenceNetwork

pytestmark = pytest.mark.reference
STRONG, WEAK = Signer("k256", 21), Signer("p256", 22)


class Owner:
    """Writes one DID's operations."""

    def __init__(self, session: aiohttp.ClientSession, plc_url: str, secret: int) -> None:
        self._session, self._plc_url = session, plc_url
        self.key = Signer("k256", secret)
        self.did = ""

    async def update(self, prev: str | None, signer: Signer = STRONG, **changed: Any) -> str:
        """Its CID."""
        operation = {
            "type": "plc_operation",
            "rotationKeys": [STRONG.did_key, WEAK.did_key],
            "verificationMethods": {"atproto": self.key.did_key},
            "alsoKnownAs": ["at://carol.test"],
            "services": {"atproto_pds": service("https://old.example")},
            "prev": prev,
        }
        return await self.post(operation | changed, signer)

    async def post(self, operation: dict[str, Any], signer: Signer = STRONG) -> str:
        signature = base64.urlsafe_b64encode(signer.sign(cbor(operation))).decode().rstrip("=")
        signed = operation | {"sig": signature}
        if not self.did:
            self.did = "did:plc:" + base64.b32encode(cid_of(cbor(signed))[4:]).decode().lower()[:24]
        async with self._session.post(f"{self._plc_url}/{self.did}", json=signed) as response:
            assert response.status == 200, await response.text()
        return cid_of(cbor(signed)).text()


def service(endpoint: str) -> dict[str, str]:
    return {"type": "AtprotoPersonalDataServer", "endpoint": endpoint}


async def test_the_mirror_says_what_the_reference_plc_says(
    reference_network: ReferenceNetwork, tmp_path: Path
) -> None:
    url = reference_network.plc_url
    async with aiohttp.ClientSession() as session, Client(allow_private_hosts=True) as client:
        made = await accounts.create_account(session, reference_network.pds_urls[0])

        moved = Owner(session, url, 31)
        first = await moved.update(None)
        second = await moved.update(first, services={"atproto_pds": service("https://New.example:443/")})
        await moved.update(second, WEAK, verificationMethods={"atproto": WEAK.did_key}, alsoKnownAs=[])

        won_back = Owner(session, url, 32)
        first = await won_back.update(None, services={"atproto_pds": service("https://mine.example")})
        thief = await won_back.update(first, WEAK, services={"atproto_pds": service("https://thief.example")})
        await won_back.post({"type": "plc_tombstone", "prev": thief}, WEAK)
        await won_back.update(first, services={"atproto_pds": service("https://won-back.example")})

        gone = Owner(session, url, 33)
        await gone.post({"type": "plc_tombstone", "prev": await gone.update(None)})

        dids = [made.did, moved.did, won_back.did, gone.did]
        rows = []
        for did in dids:
            async with session.get(f"{url}/{did}/log/audit") as response:
                rows += await response.json()
        rows.sort(key=lambda row: row["createdAt"])
        assert [row["nullified"] for row in rows].count(True) == 2

        # The same log by number carries no marks.
        bare = [{k: v for k, v in row.items() if k != "nullified"} for row in rows]
        numbers = [row | {"type": "sequenced_op", "seq": n} for n, row in enumerate(bare, 1)]
        for name, log in ("timed", rows), ("numbered", numbers):
            file, path = tmp_path / f"{name}.jsonl", tmp_path / f"{name}.sqlite"
            file.write_bytes(b"\n".join(map(orjson.dumps, log)))
            with MirrorWriter(path, url) as mirror:
                import_file(mirror, file)
            with PlcMirror(path) as mirror:
                answers = mirror.find_many(dids)
            asked = Resolver(client, plc_url=url)
            for did in dids[:3]:
                assert answers[did] == await asked.resolve(did)
            found = answers[won_back.did]
            assert isinstance(found, Identity)
            assert found.pds == "https://won-back.example"
            assert isinstance(answers[gone.did], IdentityTombstoned)
            with pytest.raises((IdentityTombstoned, IdentityNotFound)):
                await asked.resolve(gone.did)
