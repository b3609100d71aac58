"""Keys and signatures, judged by the protocol's vectors and by keys made with ``cryptography``."""

from __future__ import annotations

import base64
from typing import Any

import base58
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from atp import keys
from schemas.errors import IdentityIncomplete
from tests.atp.builder import Signer
from tests.atp.vectors import cases

CURVES = ["k256", "p256"]


def b64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("case", cases("crypto/signature-fixtures.json"), ids=lambda case: case["comment"])
def test_signature_vectors(case: dict[str, Any]) -> None:
    method = {"type": case["didDocSuite"], "publicKeyMultibase": case["publicKeyMultibase"]}
    key = keys.from_did_key(case["publicKeyDid"])
    assert keys.from_verification_method(method) == key
    assert key.did_key() == case["publicKeyDid"]
    valid = key.verify(b64(case["signatureBase64"]), b64(case["messageBase64"]))
    assert valid == case["validSignature"]


@pytest.mark.parametrize("name", ["K256", "P256"])
def test_w3c_vectors(name: str) -> None:
    for case in cases(f"crypto/w3c_didkey_{name}.json"):
        if "privateKeyBytesHex" in case:
            secret = bytes.fromhex(case["privateKeyBytesHex"])
        else:
            secret = base58.b58decode(case["privateKeyBytesBase58"])
        curve = ec.SECP256K1() if name == "K256" else ec.SECP256R1()
        public = ec.derive_private_key(int.from_bytes(secret, "big"), curve).public_key()
        key = keys.from_did_key(case["publicDidKey"])
        assert key.curve == name.lower()
        assert key.point == public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        assert key.did_key() == case["publicDidKey"]


@pytest.mark.parametrize("curve", CURVES)
def test_the_three_forms_of_a_verification_method_are_one_key(curve: str) -> None:
    signer = Signer(curve)
    older = {"k256": "EcdsaSecp256k1VerificationKey2019", "p256": "EcdsaSecp256r1VerificationKey2019"}[curve]
    for kind, multibase in [
        ("Multikey", signer.multikey),
        (older, "z" + base58.b58encode(signer.compressed).decode()),
        (older, "z" + base58.b58encode(signer.uncompressed).decode()),
    ]:
        key = keys.from_verification_method({"type": kind, "publicKeyMultibase": multibase})
        assert key.did_key() == signer.did_key


@pytest.mark.parametrize("curve", CURVES)
def test_what_is_not_the_keys_own_low_s_signature_is_not_valid(curve: str) -> None:
    signer, data = Signer(curve), b"data"
    key = keys.from_did_key(signer.did_key)
    signature = signer.sign(data)
    assert key.verify(signature, data)
    assert not key.verify(signer.sign(data, high_s=True), data)
    assert not key.verify(signature, b"other data")
    assert not key.verify(Signer(curve, 8).sign(data), data)
    assert not key.verify(signature[:-1], data)
    assert not key.verify(signature + b"\x00", data)
    assert not key.verify(b"", data)
    r, s = signature[:32], signature[32:]
    for no_signature in (bytes(32) + s, r + bytes(32), b"\xff" * 32 + s, r + b"\x00" + s):
        assert not key.verify(no_signature, data)


@pytest.mark.parametrize("curve", CURVES)
@given(st.binary(min_size=64, max_size=64) | st.binary())
def test_any_bytes_are_no_signature_and_no_crash(curve: str, signature: bytes) -> None:
    assert not keys.from_did_key(Signer(curve).did_key).verify(signature, b"data")


@pytest.mark.parametrize("curve", CURVES)
def test_a_point_that_is_not_on_the_curve_is_no_key(curve: str) -> None:
    prefix = Signer(curve).multikey
    codec = base58.b58decode(prefix[1:])[:2]
    no_point = "z" + base58.b58encode(codec + b"\x02" + b"\xff" * 32).decode()
    with pytest.raises(IdentityIncomplete, match="not a point"):
        keys.from_did_key("did:key:" + no_point)


ED25519 = "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a did:key"),
        ("did:plc:ewvi7nxzyoun6zhxrhs64oiz", "not a did:key"),
        ("did:key:", "base58btc"),
        ("did:key:z", "neither"),
        ("did:key:u" + Signer().multikey[1:], "base58btc"),
        ("did:key:z0OIl", "base58btc"),
        ("did:key:z" + "1" * 1_000_000, "base58btc"),
        ("did:key:" + ED25519, "neither"),
        ("did:key:z" + base58.b58encode(b"\xe7\x01" + Signer().uncompressed).decode(), "neither"),
    ],
)
def test_no_key(text: str, reason: str) -> None:
    with pytest.raises(IdentityIncomplete, match=reason):
        keys.from_did_key(text)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ({}, "publicKeyMultibase"),
        ({"type": "Multikey", "publicKeyMultibase": 1}, "publicKeyMultibase"),
        ({"publicKeyMultibase": Signer().multikey}, "unknown type"),
        ({"type": "JsonWebKey2020", "publicKeyMultibase": Signer().multikey}, "unknown type"),
        ({"type": ["Multikey"], "publicKeyMultibase": Signer().multikey}, "unknown type"),
        ({"type": "EcdsaSecp256k1VerificationKey2019", "publicKeyMultibase": "z11"}, "not a point"),
        ({"type": "EcdsaSecp256r1VerificationKey2019", "publicKeyMultibase": "z"}, "not a point"),
    ],
)
def test_no_verification_method(method: dict[str, Any], reason: str) -> None:
    with pytest.raises(IdentityIncomplete, match=reason):
        keys.from_verification_method(method)
