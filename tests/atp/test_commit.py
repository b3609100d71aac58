"""Commits: whatever is not this account's own signed head has an error with a name."""

from __future__ import annotations

from typing import Any

import pytest
from arroba import util as arroba

from atp import commit, keys, tid
from schemas.errors import CommitForeign, CommitFromFuture, CommitMalformed, RepoError, SignatureInvalid
from tests.atp.builder import DID, NOW, REV, Builder, Cid, Raw, Signer, Unsorted, cbor, cid_of

DATA = cid_of(b"\xa0")
RAW_CID = cid_of(b"\xa0", 0x55)


def parse(block: bytes, signer: Signer | None = None) -> commit.Commit:
    return commit.parse(block, DID, keys.from_did_key((signer or Signer()).did_key), NOW)


def signed(signer: Signer | None = None, **fields: Any) -> bytes:
    builder = Builder(signer)
    return builder.blocks[builder.commit(fields.pop("data", DATA), **fields)]


@pytest.mark.parametrize("curve", ["k256", "p256"])
def test_a_signed_commit(curve: str) -> None:
    signer = Signer(curve)
    assert parse(signed(signer), signer) == commit.Commit(DID, 3, DATA, REV)


def test_a_commit_that_another_implementation_signed() -> None:
    private = arroba.new_key(7)
    fields = {"did": DID, "version": 3, "data": DATA, "rev": REV, "prev": None}
    unsigned = cbor(fields)
    as_arroba = arroba.sign({**arroba.dag_cbor.decode(unsigned)}, private)
    assert parse(cbor({**fields, "sig": as_arroba["sig"]})).rev == REV


def test_a_commit_may_name_the_one_before_it() -> None:
    assert parse(signed(prev=DATA)).data == DATA


def test_an_old_commit_of_version_2_has_no_rev() -> None:
    assert parse(signed(version=2, drop=["rev"])) == commit.Commit(DID, 2, DATA, "")


def test_a_commit_of_version_2_may_have_a_rev() -> None:
    assert parse(signed(version=2)) == commit.Commit(DID, 2, DATA, REV)


@pytest.mark.parametrize(
    "fields",
    [
        {"drop": ["did"]},
        {"drop": ["version"]},
        {"drop": ["data"]},
        {"drop": ["rev"]},
        {"drop": ["prev"]},
        {"drop": ["sig"]},
        {"version": 2, "drop": ["rev", "prev"]},
        {"more": 1},
        {"version": 2, "more": 1},
        {"version": 1},
        {"version": 4},
        {"version": "3"},
        {"version": None},
        {"version": Raw(b"\xfb\x40\x08" + bytes(6))},
        {"did": 1},
        {"did": DID.encode()},
        {"rev": None},
        {"rev": 1},
        {"rev": ""},
        {"rev": "3lbcv7quuzs2"},
        {"rev": "zzzzzzzzzzzzz"},
        {"version": 2, "rev": None},
        {"data": None},
        {"data": bytes(DATA)},
        {"data": RAW_CID},
        {"data": Cid(DATA[:-1])},
        {"prev": "text"},
        {"prev": RAW_CID},
        {"sig": "text"},
        {"sig": 1},
    ],
    ids=str,
)
def test_fields_of_a_commit(fields: dict[str, Any]) -> None:
    with pytest.raises(CommitMalformed):
        parse(signed(**fields))


@pytest.mark.parametrize("value", [[], "text", DATA, 1])
def test_a_commit_is_a_map(value: Any) -> None:
    with pytest.raises(CommitMalformed, match="not a map"):
        parse(cbor(value))


def test_a_commit_has_one_encoding() -> None:
    fields = {"did": DID, "version": 3, "data": DATA, "rev": REV, "prev": None}
    signature = Signer().sign(cbor(fields))
    assert parse(cbor({**fields, "sig": signature})).rev == REV
    for block in (
        cbor(Unsorted({**fields, "sig": signature})),
        cbor({**fields, "version": Raw(b"\x18\x03"), "sig": signature}),
        cbor({**fields, "sig": signature}) + b"\x00",
        b"",
    ):
        with pytest.raises(CommitMalformed, match="canonical"):
            parse(block)


def test_a_commit_of_another_account() -> None:
    with pytest.raises(CommitForeign, match="did:plc:other"):
        parse(signed(did="did:plc:other"))


@pytest.mark.parametrize(("ahead", "refused"), [(299.0, False), (300.0, False), (300.1, True), (9e8, True)])
def test_a_rev_may_be_five_minutes_ahead_of_our_clock(ahead: float, refused: bool) -> None:
    block = signed(rev=tid.from_microseconds(int((NOW + ahead) * 1e6)))
    if refused:
        with pytest.raises(CommitFromFuture):
            parse(block)
    else:
        assert parse(block).version == 3


@pytest.mark.parametrize("curve", ["k256", "p256"])
def test_signatures_that_are_not_the_accounts(curve: str) -> None:
    signer = Signer(curve)
    good = signer.sign(cbor({"did": DID, "version": 3, "data": DATA, "rev": REV, "prev": None}))
    assert parse(signed(signer, sig=good), signer).rev == REV
    for block in (
        signed(signer, high_s=True),
        signed(Signer(curve, secret=8)),  # a key that was rotated out
        signed(signer, sig=good, prev=DATA),  # a signature over other fields
        signed(signer, sig=good[:-1]),
        signed(signer, sig=good + b"\x00"),
        signed(signer, sig=b""),
        signed(signer, sig=bytes(64)),
    ):
        with pytest.raises(SignatureInvalid):
            parse(block, signer)


def test_the_other_curve_is_another_key() -> None:
    with pytest.raises(SignatureInvalid):
        parse(signed(Signer("p256")), Signer("k256"))


def test_errors_are_of_the_repository() -> None:
    assert issubclass(CommitForeign, RepoError)
    assert CommitForeign.error_type == "verification_failed"
