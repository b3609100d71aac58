"""A made-up network's accounts for planning in bulk: who they are and where they live is arithmetic.

What resolves them asks nobody, so what is measured is the reading of a source and the making of tasks.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterator, Sequence

from atp.identity import Identity
from schemas.errors import IdentityNotFound

HOSTS = 16
COLLECTION = "app.bsky.feed.post"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PLACES = {letter: number % HOSTS for number, letter in enumerate(_ALPHABET)}
_KEY = "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"
_PLC = "did:plc:"


def dids(count: int) -> Iterator[str]:
    """The accounts, in an order that is none."""
    for number in range(count):
        digest = hashlib.md5(b"%d" % number, usedforsecurity=False).digest()
        yield _PLC + base64.b32encode(digest[:15]).decode().lower()


def host_of(did: str) -> int:
    """The number of the host that an account lives on."""
    return _PLACES[did[-1]]


class Directory:
    """A resolver that knows everybody."""

    def __init__(self, origins: Sequence[str]) -> None:
        """`origins` of the hosts by number."""
        self._origins = origins

    def known(self, names: Collection[str]) -> dict[str, Identity]:
        """See producers.resolve.Resolves."""
        return {name: self._identity(name) for name in names if name.startswith(_PLC)}

    async def resolve(self, did_or_handle: str, *, fresh: bool = False) -> Identity:
        """See producers.resolve.Resolves."""
        if not did_or_handle.startswith(_PLC):
            raise IdentityNotFound(f"there is no {did_or_handle}")
        return self._identity(did_or_handle)

    def _identity(self, did: str) -> Identity:
        return Identity(did, None, self._origins[host_of(did)], _KEY)
