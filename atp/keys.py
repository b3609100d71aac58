"""Signing keys and signatures. A signature is either valid for the account's key or it is not:
no exception of a library gets out, and a high-S twin of a valid signature is not valid.

Source: atproto.com/specs/cryptography
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import base58
import coincurve
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.errors import IdentityIncomplete

Curve = Literal["k256", "p256"]

_MULTICODEC: dict[Curve, bytes] = {"k256": b"\xe7\x01", "p256": b"\x80\x24"}
_OLDER_TYPES: dict[str, Curve] = {
    "EcdsaSecp256k1VerificationKey2019": "k256",
    "EcdsaSecp256r1VerificationKey2019": "p256",
}
_HALF_ORDER: dict[Curve, int] = {
    "k256": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2,
    "p256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 // 2,
}
_LONGEST_MULTIBASE = 128  # an uncompressed point has 90; base58 takes quadratic time
_SIGNATURE_LENGTH = 64


class PublicKey(NamedTuple):
    """A point on one of the two curves, compressed (33 bytes). Made by the functions below only."""

    curve: Curve
    point: bytes

    def did_key(self) -> str:
        """The canonical text, ``did:key:z…``."""
        return "did:key:z" + base58.b58encode(_MULTICODEC[self.curve] + self.point).decode()

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Tell whether ``signature`` (r and s, 32 bytes each, low-S) signs the SHA-256 of ``data``."""
        if len(signature) != _SIGNATURE_LENGTH:
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        if s > _HALF_ORDER[self.curve]:
            return False
        der = encode_dss_signature(r, s)
        if self.curve == "k256":
            return _verify_k256(self.point, der, data)
        return _verify_p256(self.point, der, data)


def from_did_key(text: str) -> PublicKey:
    """The key in ``did:key:z…``. Raises IdentityIncomplete where it is none, or of another curve."""
    if not text.startswith("did:key:"):
        raise IdentityIncomplete(f"{text[:100]!r} is not a did:key")
    return _from_multikey(text.removeprefix("did:key:"))


def from_verification_method(method: Mapping[str, Any]) -> PublicKey:
    """The key in an entry of a DID document's verificationMethod, in any of its three forms.

    Multikey carries multicodec and compressed point; the two older types carry the point alone,
    compressed or not. Raises IdentityIncomplete where there is no usable key.
    """
    multibase = method.get("publicKeyMultibase")
    if not isinstance(multibase, str):
        raise IdentityIncomplete("the signing key has no publicKeyMultibase")
    kind = method.get("type")
    if kind == "Multikey":
        return _from_multikey(multibase)
    if isinstance(kind, str) and kind in _OLDER_TYPES:
        return _from_point(_OLDER_TYPES[kind], _from_base58(multibase))
    raise IdentityIncomplete(f"the signing key is of the unknown type {str(kind)[:100]!r}")


def _from_multikey(multibase: str) -> PublicKey:
    data = _from_base58(multibase)
    for curve, prefix in _MULTICODEC.items():
        if data.startswith(prefix) and len(data) == len(prefix) + 33:
            return _from_point(curve, data[len(prefix) :])
    raise IdentityIncomplete(f"the signing key {multibase!r} is neither on K-256 nor on P-256")


def _from_base58(multibase: str) -> bytes:
    if not multibase.startswith("z") or len(multibase) > _LONGEST_MULTIBASE:
        raise IdentityIncomplete(f"the signing key {multibase[:100]!r} is not in base58btc")
    try:
        return base58.b58decode(multibase[1:])
    except ValueError as error:
        raise IdentityIncomplete(f"the signing key {multibase!r} is not in base58btc: {error}") from error


def _from_point(curve: Curve, point: bytes) -> PublicKey:
    try:
        if curve == "k256":
            return PublicKey(curve, coincurve.PublicKey(point).format(compressed=True))
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        return PublicKey(curve, key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))
    except ValueError as error:
        raise IdentityIncomplete(f"the signing key is not a point on {curve}: {error}") from error


def _verify_k256(point: bytes, der: bytes, data: bytes) -> bool:
    return bool(coincurve.PublicKey(point).verify(der, data))


def _verify_p256(point: bytes, der: bytes, data: bytes) -> bool:
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    try:
        key.verify(der, data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
