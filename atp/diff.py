"""What came to a repository since a rev that is known, from getRepo's answer with ``since``.

Such an answer holds the blocks that the host wrote after that rev, so what is absent is unchanged, unless the
host lost it on the way: it streams without a snapshot. Whatever that might be is DiffUnexplained, for a whole
fetch to settle. A deletion leaves no trace here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from atp import cid, commit, mst, repo, syntax, tid
from atp.car import Buffer, Car
from atp.repo import BrokenRecord, Record, Repo
from schemas.errors import DiffUnexplained


class Known(NamedTuple):
    """A state of the repository that was fetched and proven before: its rev, and its commit's CID."""

    rev: str
    commit: str


class Difference:
    """The records that are new, or new under their key, up to ``rev``. Made by ``read``.

    Proven as far as it goes: the commit's signature, every hash, order and place of the nodes that came.
    Reads records from the buffer that it was made of; keep that open meanwhile.
    """

    def __init__(self, did: str, rev: str, root: str, car: Car, blocks: dict[str, int]) -> None:
        self.did = did
        self.rev = rev
        self.commit = root
        self.proof: Literal["commit", "cid"] = "commit"
        self._car, self._blocks = car, blocks

    def records(self, wanted: Callable[[str, str], bool] | None = None) -> Iterator[Record | BrokenRecord]:
        """The records, in the order of the keys; only those for which ``wanted(collection, rkey)``."""
        for key, block in self._blocks.items():
            collection, _, rkey = key.partition("/")
            if wanted is None or wanted(collection, rkey):
                record_cid, data = cid.to_text(self._car.cid(block)), self._car.data(block)
                key_is_valid = syntax.is_nsid(collection) and syntax.is_rkey(rkey)
                yield repo.record_of(collection, rkey, record_cid, data, key_is_valid=key_is_valid)


def read(car: Buffer, did: str, signing_key: str, known: Known, *, now: float) -> Difference | Repo | None:
    """Read the answer to getRepo with ``since=known.rev``; None: nothing has changed.

    A Repo is for a host that answers the whole repository all the same. ``now`` is in seconds since 1970.
    Raises DiffUnexplained, and RepoError's other subclasses for what can't be right.
    """
    blocks = Car(car)
    root = cid.to_text(blocks.root)
    if root == known.commit:
        return None
    if blocks.number(blocks.root) is None:
        raise DiffUnexplained(f"the commit is {root}, not {known.commit}, but it did not come")
    head = commit.parse(blocks.block(blocks.root), did, repo.key_of(signing_key), now)
    if head.rev <= known.rev:
        raise DiffUnexplained(f"rev {head.rev} is not later than {known.rev}, and the commit is another")
    seen, absent = {blocks.root}, 0

    def load(node: bytes) -> bytes | None:
        nonlocal absent
        if blocks.number(node) is None:
            absent += 1
            return None
        seen.add(node)
        return blocks.block(node)

    tree = mst.walk(head.data, load)
    found: dict[str, int] = {}
    for record_key, record in zip(tree.keys, tree.records, strict=True):
        number = blocks.number(record)
        if number is not None:
            found[record_key] = number
            seen.add(record)
            continue
        absent += 1
        rkey = record_key.partition("/")[2]
        if tid.is_tid(rkey) and rkey > known.rev:
            raise DiffUnexplained(f"the record {record_key} is new by its key, but did not come")
    if not absent:
        return repo.read(car, did, signing_key, now=now)
    if len(seen) != len(blocks):
        raise DiffUnexplained(f"{len(blocks) - len(seen)} blocks came that nothing which came refers to")
    return Difference(did, head.rev, root, blocks, found)
