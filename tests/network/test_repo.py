"""Repositories of the simulated network, judged by implementations that are not ours."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import base58
import dag_cbor
import libipld
import pytest
from arroba.mst import MST
from arroba.repo import Repo
from arroba.storage import Block, MemoryStorage
from arroba.util import verify_sig
from cryptography.hazmat.primitives.asymmetric import ec
from multiformats import CID

from local.network.accounts import Account, Population
from local.network.keys import K256_ORDER, P256_ORDER, SigningKey, did_key, key_from_seed
from local.network.repo import build_car, build_repository, cid_of, cid_text, encode_record, key_height
from local.network.tid import tid

KEY_HEIGHTS = Path(__file__).parents[1] / "interop" / "mst" / "key_heights.json"
P256_ACCOUNT = 5
POPULATION = Population(seed=7, accounts=8, hosts=2, records=150, spread=0.5)


def repository_of(account: Account) -> Any:
    return build_repository(account.did, account.key(), POPULATION.write_records(account), account.rev)


def public_key(key: SigningKey) -> ec.EllipticCurvePublicKey:
    """The Multikey value, read by ``cryptography``."""
    raw = base58.b58decode(key.multibase[1:])
    curves: dict[bytes, ec.EllipticCurve] = {b"\xe7\x01": ec.SECP256K1(), b"\x80\x24": ec.SECP256R1()}
    return ec.EllipticCurvePublicKey.from_encoded_point(curves[raw[:2]], raw[2:])


def as_atproto_json(value: Any) -> Any:
    """What the ``dag_cbor`` library decoded, in atproto's JSON form."""
    if isinstance(value, CID):
        return {"$link": value.encode("base32")}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode().rstrip("=")}
    if isinstance(value, list):
        return [as_atproto_json(item) for item in value]
    if isinstance(value, dict):
        return {key: as_atproto_json(item) for key, item in value.items()}
    return value


def load_into_arroba(car: bytes) -> Repo:
    header, _ = libipld.decode_car(car)
    storage = MemoryStorage()
    storage.write_blocks([Block(cid=CID.decode(c), encoded=b) for c, b in raw_blocks(car)])
    return Repo.load(storage, cid=CID.decode(header["roots"][0]), signing_key=None)


def raw_blocks(car: bytes) -> list[tuple[bytes, bytes]]:
    """(CID, block) of a CAR, by a reading of the varints that is only the tests'."""
    sections, position = [], 0
    while position < len(car):
        length = shift = 0
        while True:
            byte = car[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        sections.append(car[position : position + length])
        position += length
    return [(section[:36], section[36:]) for section in sections[1:]]


@pytest.mark.parametrize("number", range(8))
def test_arroba_reads_the_same_records(number: int) -> None:
    account = POPULATION.account(number)
    records = POPULATION.write_records(account)
    repo = load_into_arroba(repository_of(account).car())
    contents = repo.get_contents()
    read = {f"{c}/{rkey}": as_atproto_json(r) for c, rs in contents.items() for rkey, r in rs.items()}
    assert read == records
    assert repo.did == account.did
    assert repo.version == 3


@pytest.mark.parametrize("number", [0, P256_ACCOUNT])
def test_the_signature_is_good_and_low_s(number: int) -> None:
    account = POPULATION.account(number)
    commit = load_into_arroba(repository_of(account).car()).head.decoded
    curve = ec.SECP256R1 if number == P256_ACCOUNT else ec.SECP256K1
    assert isinstance(public_key(account.key()).curve, curve)
    assert verify_sig(commit, public_key(account.key()))
    assert not verify_sig(commit, public_key(account.key(generation=1)))
    assert did_key(account.key()) == f"did:key:{account.key().multibase}"


def test_every_signature_of_many_is_low_s() -> None:
    """About half of all signatures come out high before they are brought down."""
    for number, order in ((0, K256_ORDER), (P256_ACCOUNT, P256_ORDER)):
        key = key_from_seed(1, number)
        for message in range(40):
            signature = key.sign(str(message).encode())
            assert len(signature) == 64
            assert int.from_bytes(signature[32:], "big") <= order // 2


def test_the_tree_is_the_one_that_arroba_builds() -> None:
    """Small sets of keys in any order: also trees whose inner nodes hold no key of their own."""
    rng = random.Random(3)
    empty_nodes = 0
    for _ in range(60):
        keys = [f"app.bsky.feed.post/{tid(rng.getrandbits(50), 1)}" for _ in range(rng.randrange(0, 25))]
        keys += [f"app.bsky.graph.follow/{tid(rng.getrandbits(50), 1)}" for _ in range(rng.randrange(0, 9))]
        records: dict[str, dict[str, Any]] = {key: {"$type": "x", "key": key} for key in keys}
        theirs = MST.create(storage=MemoryStorage())
        for key in keys:
            cid = CID.decode(cid_of(encode_record(records[key])))
            theirs = theirs.add(key, cid)
        ours = build_repository("did:plc:test", key_from_seed(1, 0), records, tid(1, 1))
        assert bytes(theirs.get_pointer()) == ours.nodes[-1]
        nodes = [dag_cbor.decode(ours.blocks[node]) for node in ours.nodes]
        empty_nodes += sum(not node["e"] for node in nodes if len(nodes) > 1)  # type: ignore[call-overload, index]
    assert empty_nodes > 0


def test_key_heights_are_those_of_the_protocols_vectors() -> None:
    for vector in json.loads(KEY_HEIGHTS.read_bytes()):
        assert key_height(vector["key"].encode()) == vector["height"]


def test_the_car_is_what_libipld_decodes() -> None:
    repository = repository_of(POPULATION.account(0))
    header, blocks = libipld.decode_car(repository.car())
    assert header == {"version": 1, "roots": [repository.commit]}
    assert set(blocks) == set(repository.blocks)
    assert blocks[repository.commit]["rev"] == repository.rev
    for cid, block in raw_blocks(repository.car()):
        assert bytes(CID.decode(cid).digest[-32:]) == cid[4:]
        assert dag_cbor.encode(dag_cbor.decode(block)) == block
        assert cid_text(cid) == CID.decode(cid).encode("base32")


def test_an_empty_repository_has_an_empty_root() -> None:
    car = build_car("did:plc:test", key_from_seed(1, 0), {}, tid(1, 1))
    header, blocks = libipld.decode_car(car)
    assert blocks[blocks[header["roots"][0]]["data"]] == {"l": None, "e": []}


def test_equal_records_share_one_block() -> None:
    record = {"$type": "app.bsky.feed.post", "text": "twice"}
    records = {"app.bsky.feed.post/a": record, "app.bsky.feed.post/b": dict(record)}
    repository = build_repository("did:plc:test", key_from_seed(1, 0), records, tid(1, 1))
    assert repository.records["app.bsky.feed.post/a"] == repository.records["app.bsky.feed.post/b"]
    assert len(raw_blocks(repository.car())) == len(repository.nodes) + 2


def test_blocks_can_be_left_out() -> None:
    repository = repository_of(POPULATION.account(1))
    missing = repository.nodes[0]
    cids = [cid for cid, _ in raw_blocks(repository.car(without={missing}))]
    assert missing not in cids
    assert len(cids) == len(repository.blocks) - 1


def test_the_same_seed_gives_the_same_bytes() -> None:
    again = Population(seed=7, accounts=8, hosts=2, records=150, spread=0.5)
    for number in (0, P256_ACCOUNT):
        account = again.account(number)
        car = build_car(account.did, account.key(), again.write_records(account), account.rev)
        assert car == repository_of(POPULATION.account(number)).car()
    other = Population(seed=8, accounts=8, hosts=2, records=150, spread=0.5)
    assert set(other.dids).isdisjoint(POPULATION.dids)
    assert other.write_records(other.account(0)) != POPULATION.write_records(POPULATION.account(0))
