"""The repositories as hosts serve them: built when first asked for, with the faults of their content.

Memory is bounded: CAR files and listings are kept least recently used first out, within their budgets in
bytes. The honest repository and the one served differ only by a ``Corrupted`` fault.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

import orjson
from cbrrr import encode_dag_cbor

from local.network.accounts import Account, Population
from local.network.active import ActiveFaults
from local.network.faults import Corrupted, InvalidRecord, RotatedKey
from local.network.keys import SigningKey
from local.network.records import Record
from local.network.repo import Repository, build_repository, cid_of, cid_text, encode_record
from local.network.writes import Writes

INVALID_KEY = "app.bsky.feed.post/3zzzzinvalid2"
STRANGER = 99
"""The generation of a key that PLC never names."""

K = TypeVar("K")
V = TypeVar("V")


class Content(NamedTuple):
    """What the blocks of a repository depend on."""

    did: str
    rev: str
    invalid_record: bool
    rotated_key: bool


class Head(NamedTuple):
    """The latest commit: CID as text, and rev."""

    cid: str
    rev: str


class Listed(NamedTuple):
    """One record as the repo methods answer it; ``value`` is its JSON."""

    key: str
    cid: str
    value: bytes


class _Kept(Generic[K, V]):
    """Values least recently used first out, bounded by the sum of their sizes in bytes."""

    def __init__(self, budget: int, size: Callable[[V], int]) -> None:
        self._budget = budget
        self._size = size
        self._used = 0
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        self._used += self._size(value)
        while self._used > self._budget and len(self._values) > 1:
            _, oldest = self._values.popitem(last=False)
            self._used -= self._size(oldest)
        return value


class RepoStore:
    """Builds and keeps repositories. ``car_budget`` and ``listing_budget`` are in bytes."""

    def __init__(
        self,
        population: Population,
        faults: ActiveFaults,
        *,
        car_budget: int = 256 * 2**20,
        listing_budget: int = 64 * 2**20,
    ) -> None:
        self._population = population
        self._faults = faults
        self.writes = Writes()
        self._heads: dict[Content, Head] = {}
        self._cars: _Kept[tuple[Content, str | None], bytes] = _Kept(car_budget, len)
        self._listings: _Kept[Content, list[Listed]] = _Kept(
            listing_budget, lambda listed: sum(len(item.value) + 300 for item in listed)
        )

    def key(self, account: Account) -> SigningKey:
        """The key that signs the repository now."""
        return account.key(1 if self._faults.of_account(account.number, RotatedKey) else 0)

    def records(self, account: Account, rev: str | None = None) -> dict[str, Record]:
        """All records by "collection/rkey", the invalid one included, at ``rev`` (None: now)."""
        records = self._population.write_records(account)
        self.writes.apply(account, records, rev)
        if self._faults.of_account(account.number, InvalidRecord):
            records[INVALID_KEY] = {
                "$type": "app.bsky.feed.post",
                "text": "a float makes this record invalid",
                "createdAt": "2025-05-05T05:05:05.000Z",
                "score": 0.5,
            }
        return records

    def _blocks(self, account: Account, records: Mapping[str, Record]) -> dict[str, bytes]:
        """The encoded records. atproto JSON can't say a float, so the invalid one is plain CBOR."""
        return {
            key: encode_dag_cbor(record) if self.is_invalid(account, key) else encode_record(record)
            for key, record in records.items()
        }

    def is_invalid(self, account: Account, key: str) -> bool:
        """Whether the record under this key is the account's invalid one."""
        return key == INVALID_KEY and self._faults.of_account(account.number, InvalidRecord) is not None

    def car(self, account: Account) -> bytes:
        """The CAR file as the next getRepo answers it: corrupted where a fault strikes."""
        fault = self._faults.of_account(account.number, Corrupted)
        how = fault.how if fault is not None and self._faults.strikes(fault) else None
        return self._cars.get((self._content(account), how), lambda: self._build_car(account, how))

    def difference(self, account: Account, since: str) -> bytes:
        """What getRepo answers with ``since``: the blocks that the repository did not have at that rev."""
        now = self._build(account, self.writes.rev(account))
        if since >= now.rev:
            return now.car(without=now.blocks.keys())
        before = self._build(account, since).blocks if since >= account.rev else {}
        return now.car(without=before.keys())

    def warm(self, account: Account) -> int:
        """Build the account's CAR ahead of its first request, without spending a fault; its size in bytes."""
        return len(self._cars.get((self._content(account), None), lambda: self._build_car(account, None)))

    def head(self, account: Account) -> Head:
        """The latest commit, without any corruption."""
        content = self._content(account)
        if content not in self._heads:
            self._cars.get((content, None), lambda: self._build_car(account, None))
        return self._heads[content]

    def listing(self, account: Account) -> list[Listed]:
        """All records in ascending order of their keys."""
        return self._listings.get(self._content(account), lambda: self._list(account))

    def collections(self, account: Account) -> list[str]:
        """The collections that the account has records in, sorted."""
        return sorted({item.key.partition("/")[0] for item in self.listing(account)})

    def _content(self, account: Account) -> Content:
        faults = self._faults
        invalid = faults.of_account(account.number, InvalidRecord) is not None
        rotated = faults.of_account(account.number, RotatedKey) is not None
        return Content(account.did, self.writes.rev(account), invalid, rotated)

    def _list(self, account: Account) -> list[Listed]:
        records = self.records(account)
        return [
            Listed(key, cid_text(cid_of(block)), orjson.dumps(records[key]))
            for key, block in sorted(self._blocks(account, records).items())
        ]

    def _build_car(self, account: Account, how: str | None) -> bytes:
        repository = self._build(account, self.writes.rev(account), how)
        if how == "flipped_byte":
            return _flip_a_byte(repository)
        if how == "missing_block":
            # The first node built is the leftmost leaf; in a tree of one node it is the root.
            return repository.car(without={repository.nodes[0]})
        if how is None:
            self._heads[self._content(account)] = Head(cid_text(repository.commit), repository.rev)
        return repository.car()

    def _build(self, account: Account, rev: str, how: str | None = None) -> Repository:
        key = account.key(STRANGER) if how == "wrong_signature" else self.key(account)
        return build_repository(account.did, key, self._blocks(account, self.records(account, rev)), rev)


def _flip_a_byte(repository: Repository) -> bytes:
    """The CAR with one bit changed inside the block of the middle record (of the commit, if none)."""
    cids = list(repository.records.values())
    victim = cids[len(cids) // 2] if cids else repository.commit
    car = bytearray(repository.car())
    car[car.index(repository.blocks[victim], car.index(victim + repository.blocks[victim])) + 5] ^= 0x01
    return bytes(car)
