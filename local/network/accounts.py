"""The accounts of the simulated network, each a pure function of (seed, number).

Nothing here is kept but the list of DIDs: an account's key and records are made anew whenever they are
asked for, and always come out the same.
"""

from __future__ import annotations

import base64
import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from local.network.keys import SigningKey, key_from_seed
from local.network.records import LAST_SECOND, Author, Record
from local.network.tid import tid
from schemas.errors import ConfigError

NAMES = ("ada", "bela", "chiyo", "dario", "esi", "farah", "goran", "hedy", "ines", "jun", "kofi", "lena")


@dataclass(frozen=True)
class Account:
    """One account. ``host`` is the number of the PDS it was created on."""

    seed: int
    number: int
    did: str
    host: int
    record_count: int

    @property
    def handle(self) -> str:
        return handle_of(self.number)

    @property
    def rev(self) -> str:
        """The commit's TID: later than every record's."""
        return tid((LAST_SECOND + 1 + self.number) * 1_000_000, self.number & 1023)

    def key(self, generation: int = 0) -> SigningKey:
        return key_from_seed(self.seed, self.number, generation=generation)


class Population:
    """All accounts of a network.

    ``records`` is the mean number of records of an account, ``spread`` how far the numbers scatter: 0
    gives every account the mean, 1 an exponential distribution (some nearly empty, a few very large).
    ``crowding`` is the share of all accounts (0 to 1) that live on host 0 whatever their turn is; the
    others are dealt to all hosts evenly. ``sizes`` gives accounts (by number) an exact number of records,
    e.g. one giant or an empty repository. Raises ConfigError for numbers that make no network.
    """

    def __init__(
        self,
        *,
        seed: int,
        accounts: int,
        hosts: int,
        records: int,
        spread: float = 1.0,
        crowding: float = 0.0,
        sizes: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        if accounts < 0 or hosts < 1 or records < 0:
            raise ConfigError(
                "a network needs at least one host, and no negative number of accounts or records"
            )
        if not (0 <= spread <= 1 and 0 <= crowding <= 1):
            raise ConfigError("spread and crowding lie between 0 and 1")
        self.seed = seed
        self.hosts = hosts
        self._records = records
        self._spread = spread
        self._crowding = crowding
        self._sizes = sizes
        self.dids: Sequence[str] = [_did(seed, number) for number in range(accounts)]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {did: number for number, did in enumerate(self.dids)}

    def __len__(self) -> int:
        return len(self.dids)

    def account(self, number: int) -> Account:
        """The account of that number; IndexError where there is none."""
        digest = hashlib.sha256(f"place {self.seed} {number}".encode()).digest()
        place, size = (int.from_bytes(part, "big") / 2**64 for part in (digest[:8], digest[8:16]))
        crowded = place < self._crowding
        # -log of a uniform number is exponentially distributed, with mean 1.
        scatter = 1 - self._spread - self._spread * math.log(max(size, 2**-64))
        return Account(
            seed=self.seed,
            number=number,
            did=self.dids[number],
            host=0 if crowded else number % self.hosts,
            record_count=self._sizes.get(number, round(self._records * scatter)),
        )

    def find(self, did_or_handle: str) -> Account | None:
        """The account of that DID or handle, or None."""
        number = self._numbers.get(did_or_handle)
        if number is None:
            tail = did_or_handle.removesuffix(".test").rpartition("-")[2]
            number = int(tail) if tail.isascii() and tail.isdigit() else None
            if number is None or number >= len(self) or handle_of(number) != did_or_handle:
                return None
        return self.account(number)

    def write_records(self, account: Account) -> dict[str, Record]:
        """The account's records by "collection/rkey", as atproto JSON, oldest first."""
        rng = random.Random(f"records {self.seed} {account.number}")
        return Author(rng, account.did, account.handle, self.dids).write(account.record_count)


def handle_of(number: int) -> str:
    """The handle of an account, e.g. ``esi-4.test``: .test never leads to a real domain (RFC 6761)."""
    return f"{NAMES[number % len(NAMES)]}-{number}.test"


def _did(seed: int, number: int) -> str:
    digest = hashlib.sha256(f"account {seed} {number}".encode()).digest()
    return "did:plc:" + base64.b32encode(digest[:15]).decode().lower()
