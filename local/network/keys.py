"""The signing keys of simulated accounts: secp256k1 for most, P-256 for some.

Shares nothing with ``atp``: the reader's verification is judged against these signatures, so they
may never be made by the reader's own code. Signatures are deterministic, low-S, 64 bytes r||s.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import base58
import coincurve
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
K256_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class SigningKey(Protocol):
    """An account's private key."""

    @property
    def multibase(self) -> str:
        """The public key as a Multikey value: ``z`` + base58btc(multicodec prefix + compressed point)."""
        ...

    def sign(self, message: bytes) -> bytes:
        """ECDSA over SHA-256 of ``message``; 64 bytes r||s, low-S (atproto spec, Cryptography)."""
        ...


def did_key(key: SigningKey) -> str:
    """The public key in did:key form."""
    return f"did:key:{key.multibase}"


class K256Key:
    """secp256k1 through libsecp256k1, which only makes low-S signatures (RFC 6979 nonces)."""

    def __init__(self, secret: bytes) -> None:
        self._key = coincurve.PrivateKey(secret)

    @property
    def multibase(self) -> str:
        point: bytes = self._key.public_key.format(compressed=True)
        return "z" + base58.b58encode(b"\xe7\x01" + point).decode()

    def sign(self, message: bytes) -> bytes:
        # The recoverable form is r||s plus one byte that names the public key: cut that off.
        signature: bytes = self._key.sign_recoverable(message)
        return signature[:64]


class P256Key:
    """NIST P-256 through ``cryptography``; S is brought to its low form here."""

    def __init__(self, secret: bytes) -> None:
        self._key = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())

    @property
    def multibase(self) -> str:
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return "z" + base58.b58encode(b"\x80\x24" + point).decode()

    def sign(self, message: bytes) -> bytes:
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = decode_dss_signature(self._key.sign(message, algorithm))
        s = min(s, P256_ORDER - s)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def key_from_seed(seed: int, number: int, *, generation: int = 0) -> SigningKey:
    """The key of account ``number``; ``generation`` tells a rotated key from its predecessor.

    Every eighth account signs with P-256, the others with secp256k1.
    """
    digest = hashlib.sha256(f"signing key {seed} {number} {generation}".encode()).digest()
    p256 = number % 8 == 5
    order = P256_ORDER if p256 else K256_ORDER
    secret = (int.from_bytes(digest, "big") % (order - 1) + 1).to_bytes(32, "big")
    return P256Key(secret) if p256 else K256Key(secret)
