"""Whole repositories: every record comes out as it was put in, or a named error instead of all of them."""

from __future__ import annotations

import base64
import json
import mmap
from pathlib import Path
from typing import Any

import pytest
from arroba import util as arroba
from arroba.repo import Repo as ArrobaRepo
from arroba.storage import Action, MemoryStorage, Write
from carbox import car as carbox  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.asymmetric import ec

from atp import repo
from atp.repo import BrokenRecord, Record
from schemas.errors import (
    BlockMissing,
    CommitForeign,
    CommitFromFuture,
    MstCycle,
    MstPrefixInvalid,
    RepoError,
    SignatureInvalid,
)
from tests.atp.builder import DID, NOW, REV, Builder, Cid, Raw, Signer, cbor, keys_of_layer, post, sound

KEY = Signer().did_key


def read(car: bytes, key: str = KEY) -> repo.Repo:
    return repo.read(car, DID, key, now=NOW)


# Made by another implementation


@pytest.mark.parametrize("curve", ["k256", "p256"])
def test_a_repository_that_arroba_made(curve: str) -> None:
    signer = Signer(curve, secret=11)
    private = ec.derive_private_key(11, {"k256": ec.SECP256K1(), "p256": ec.SECP256R1()}[curve])
    storage = MemoryStorage()
    made = ArrobaRepo.create(storage, DID, signing_key=private)
    expected: dict[tuple[str, str], Any] = {}
    for batch in range(3):
        writes = []
        for number in range(100):
            record = post(f"batch {batch}, number {number}, ö", langs=["de"], blob=bytes([number]))
            collection, rkey = ("app.bsky.feed.post", "app.bsky.feed.repost")[number % 2], arroba.next_tid()
            writes.append(Write(Action.CREATE, collection, rkey, record))
            expected[collection, rkey] = record
        storage.commit(made, writes)
    gone = sorted(expected)[::7]
    storage.commit(made, [Write(Action.DELETE, *key) for key in gone])
    for key in gone:
        del expected[key]

    blocks = [carbox.Block(cid=block.cid, data=block.encoded) for block in storage.blocks.values()]
    found = repo.read(carbox.write_car([made.head.cid], blocks), DID, signer.did_key, now=2e9)
    assert (found.did, found.version, len(found)) == (DID, 3, len(expected))
    assert found.rev == made.head.decoded["rev"]
    assert found.commit == str(made.head.cid.set(base="base32"))
    assert list(found.keys()) == sorted(expected)
    for one in found.records():
        assert isinstance(one, Record)
        value = expected[one.collection, one.rkey]
        assert one.cid == str(arroba.dag_cbor_cid(value).set(base="base32"))
        blob = base64.b64encode(value["blob"]).decode().rstrip("=")
        assert json.loads(one.json) == {**value, "blob": {"$bytes": blob}}


# Made by the tests' own builder


@pytest.mark.parametrize("curve", ["k256", "p256"])
def test_a_sound_repository(curve: str) -> None:
    signer = Signer(curve)
    builder, commit, records = sound(60, signer)
    car = builder.car(commit)
    found = read(car, signer.did_key)
    assert (found.did, found.rev, found.version, found.size) == (DID, REV, 3, len(car))
    assert found.commit == commit.text()
    assert len(found) == 60
    assert [f"{collection}/{rkey}" for collection, rkey in list(found.keys())] == sorted(records)
    for record in found.records():
        assert isinstance(record, Record)
        assert record.cid == records[f"{record.collection}/{record.rkey}"].text()
        number = int(record.rkey[2:])
        assert json.loads(record.json) == post(f"number {number}")
        assert record.created_at == "2024-05-06T07:08:09.123Z"


def test_an_empty_repository() -> None:
    builder = Builder()
    found = read(builder.repo(builder.tree({})))
    assert (len(found), list(found.keys()), list(found.records())) == (0, [], [])


def test_a_repository_of_version_2_has_no_rev() -> None:
    builder = Builder()
    found = read(builder.repo(builder.tree({"a.b.c/d": builder.record()}), version=2, drop=["rev"]))
    assert (found.version, found.rev, len(found)) == (2, "", 1)


def test_only_the_wanted_records_are_transcoded() -> None:
    builder, commit, _ = sound(20)
    asked: list[tuple[str, str]] = []

    def wanted(collection: str, rkey: str) -> bool:
        asked.append((collection, rkey))
        return collection.endswith("like") and rkey > "3l00000000009"

    found = read(builder.car(commit))
    picked = list(found.records(wanted))
    assert asked == list(found.keys())
    assert [(r.collection, r.rkey) for r in picked] == [key for key in asked[:20] if wanted(*key)]
    assert len(picked) == 5


def test_a_mapped_file_is_read_in_place(tmp_path: Path) -> None:
    builder, commit, _ = sound()
    path = tmp_path / "repo.car"
    path.write_bytes(builder.car(commit))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        found = repo.read(mapped, DID, KEY, now=NOW)
        assert list(found.records()) == list(read(path.read_bytes()).records())


@pytest.mark.parametrize(
    ("value", "created_at"),
    [
        (post(), "2024-05-06T07:08:09.123Z"),
        ({"createdAt": "last summer"}, "last summer"),
        ({"createdAt": 5}, None),
        ({"createdAt": None}, None),
        ({"createdAt": {"$type": "x"}}, None),
        ({}, None),
    ],
)
def test_created_at_is_what_the_record_says_if_it_is_a_text(value: Any, created_at: str | None) -> None:
    builder = Builder()
    (record,) = read(builder.repo(builder.tree({"a.b.c/d": builder.add(value)}))).records()
    assert isinstance(record, Record)
    assert record.created_at == created_at


# One bad record among good ones


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (cbor({"a": Raw(b"\xfb\x3f\xf8" + bytes(6))}), "float"),
        (cbor({"a": Raw(b"\x18\x01")}), "canonical"),
        (cbor({"a": Raw(b"\x61\xff")}), "utf-8"),
        (cbor([]), "not a map"),
        (b"\xa1\x61a" * 100_000 + b"\x01", "nested"),
        (b"", "canonical"),
        (b"\xff is no cbor", "canonical"),
    ],
)
def test_a_record_that_is_not_atproto_data_is_broken_and_the_rest_is_fine(block: bytes, reason: str) -> None:
    builder = Builder()
    records = {f"a.b.c/{number}": builder.record(str(number)) for number in range(9)}
    records["a.b.c/4"] = bad = builder.add_block(block)
    found = list(read(builder.repo(builder.tree(records))).records())
    broken = found.pop(4)
    assert isinstance(broken, BrokenRecord)
    assert (broken.collection, broken.rkey, broken.cid, broken.raw) == ("a.b.c", "4", bad.text(), block)
    assert reason in broken.reason
    assert all(isinstance(record, Record) for record in found)
    assert len(found) == 8


@pytest.mark.parametrize("key", ["a.b/c", "a/b", "a.b.c/.", "a.b.c/..", "a.b.c-/d", "a.b.c/" + "d" * 513])
def test_a_key_that_names_no_record_breaks_that_record_alone(key: str) -> None:
    builder = Builder()
    records = {key: builder.record(), "a.b.c/good": builder.record()}
    found = {f"{r.collection}/{r.rkey}": r for r in read(builder.repo(builder.tree(records))).records()}
    broken = found[key]
    assert isinstance(broken, BrokenRecord)
    assert "key" in broken.reason
    assert isinstance(found["a.b.c/good"], Record)


# A repository that does not prove itself


def test_a_missing_record_block() -> None:
    builder, commit, records = sound()
    key, absent = sorted(records.items())[17]
    with pytest.raises(BlockMissing, match=f"{key}, {absent.text()}"):
        read(builder.car(commit, without=[absent]))


def test_a_missing_node_or_commit() -> None:
    builder, commit, records = sound()
    nodes = [cid for cid in builder.blocks if cid not in records.values()]
    assert len(nodes) > 5
    for absent in nodes:
        with pytest.raises(BlockMissing, match=absent.text()):
            read(builder.car(commit, without=[absent]))


def test_the_first_root_is_the_commit() -> None:
    builder, _, records = sound()
    with pytest.raises(RepoError):
        read(builder.car(next(iter(records.values()))))


def test_the_commits_errors_come_through() -> None:
    wrong: list[tuple[type[RepoError], dict[str, Any]]] = [
        (CommitForeign, {"did": "did:plc:other"}),
        (CommitFromFuture, {"rev": "7777777777777"}),
        (SignatureInvalid, {"high_s": True}),
    ]
    for error, fields in wrong:
        builder = Builder()
        with pytest.raises(error):
            read(builder.repo(builder.tree({}), **fields))


def test_a_key_that_was_rotated_out() -> None:
    builder, commit, _ = sound(signer=Signer(secret=8))
    with pytest.raises(SignatureInvalid, match=KEY):
        read(builder.car(commit))


def test_without_a_usable_key_nothing_is_valid() -> None:
    builder, commit, _ = sound()
    with pytest.raises(SignatureInvalid, match="no key"):
        read(builder.car(commit), "did:key:zNonsense")


def test_the_clock_is_the_systems_unless_given() -> None:
    builder, commit, _ = sound()
    assert repo.read(builder.car(commit), DID, KEY).rev == REV
    with pytest.raises(CommitFromFuture):
        repo.read(builder.car(commit), DID, KEY, now=0.0)


def test_the_trees_errors_come_through() -> None:
    builder = Builder()
    record = builder.record()
    low, high = keys_of_layer(0, 20), keys_of_layer(1, 2)
    shared = builder.node(None, (next(key for key in low if key > high[0]), record, None))
    trees: dict[type[RepoError], Cid] = {
        MstCycle: builder.node(None, (high[0], record, shared), (high[1], record, shared)),
        MstPrefixInvalid: builder.node(None, {"p": 1, "k": b"a.b.c/d", "v": record, "t": None}),
    }
    for error, root in trees.items():
        with pytest.raises(error):
            read(builder.repo(root))
