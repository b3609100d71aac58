"""Differences: all that is new, or a refusal to say. The repositories are built by code that `atp` shares
nothing with.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

import pytest

from atp import diff
from atp.diff import Difference, Known
from atp.repo import Record, Repo
from atp.tid import from_microseconds
from local.network.keys import did_key, key_from_seed
from local.network.repo import Repository, build_repository, cid_of, cid_text, encode_record
from schemas.errors import BlockMismatch, CommitForeign, DiffUnexplained, SignatureInvalid
from tests.stream_workers.documents import DID

KEY = key_from_seed(1, 1)
BASE_US = 1_750_000_000_000_000
NOW = BASE_US / 1e6 + 1000
POST, LIKE = "app.bsky.feed.post", "app.bsky.feed.like"
Records = dict[str, dict[str, Any]]


def at(n: int) -> str:
    """A TID, `n` microseconds after the known rev (or before)."""
    return from_microseconds(BASE_US + n)


def base(count: int = 200) -> Records:
    records: Records = {f"{POST}/{at(-1000 - n)}": {"text": f"old {n}"} for n in range(count)}
    return records | {"app.bsky.actor.profile/self": {"displayName": "before"}}


def repository(records: Records, rev: str) -> Repository:
    return build_repository(DID, KEY, dict(records), rev)


def known(before: Repository) -> Known:
    return Known(before.rev, cid_text(before.commit))


def read(car: bytes, before: Repository, signer: str | None = None) -> Difference | Repo | None:
    return diff.read(car, DID, signer or did_key(KEY), known(before), now=NOW)


def new_records(found: Difference | Repo | None) -> dict[str, str]:
    assert isinstance(found, Difference)
    rows = {}
    for record in found.records():
        assert isinstance(record, Record)
        rows[f"{record.collection}/{record.rkey}"] = record.cid
    assert list(rows) == sorted(rows)
    return rows


def difference(after: Repository, before: Repository, without: Collection[bytes] = ()) -> bytes:
    """As a host answers it."""
    return after.car(without={*before.blocks, *without})


def test_nothing_changed() -> None:
    before = repository(base(), at(0))
    empty = difference(before, before)
    assert len(empty) == 59
    assert read(empty, before) is None
    assert read(before.car(), before) is None


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_written_comes(seed: int) -> None:
    rng = random.Random(seed)
    old = base(rng.choice([0, 1, 7, 60, 300]))
    records = dict(old)
    for n in range(rng.choice([1, 3, 40])):
        match rng.randrange(4):
            case 0 | 1:
                records[f"{rng.choice([POST, LIKE])}/{at(1 + n)}"] = {"text": f"new {n}"}
            case 2:
                records[rng.choice(list(records) or ["a.b.c/d"])] = {"text": f"changed {n}"}
            case 3 if records:
                records.pop(rng.choice(list(records)))
    before, after = repository(old, at(0)), repository(records, at(100))
    found = read(difference(after, before), before)
    expected = {key: cid_text(c) for key, c in after.records.items() if before.records.get(key) != c}
    if isinstance(found, Repo):  # nothing of the old is left
        assert {f"{c}/{r}" for c, r in found.keys()} == set(records)  # noqa: SIM118
    elif records == old:
        assert found is not None
        assert new_records(found) == {}
    else:
        assert new_records(found) == expected
        assert isinstance(found, Difference)
        assert (found.rev, found.commit) == (at(100), cid_text(after.commit))


def test_only_what_is_wanted_is_read() -> None:
    before = repository(base(), at(0))
    after = repository(base() | {f"{POST}/{at(1)}": {"text": "a"}, f"{LIKE}/{at(2)}": {"text": "b"}}, at(9))
    found = read(difference(after, before), before)
    assert isinstance(found, Difference)
    (record,) = found.records(lambda collection, rkey: collection == LIKE)
    assert (record.collection, record.rkey) == (LIKE, at(2))


def test_a_record_made_anew_is_there_or_known() -> None:
    """Its block is old, so it does not come: under its old key that is right, under a new one suspicious."""
    old = base()
    before = repository(old, at(0))
    again = repository(old | {f"{LIKE}/{at(5)}": {"text": "new"}}, at(10))
    assert list(new_records(read(difference(again, before), before))) == [f"{LIKE}/{at(5)}"]
    moved = repository(old | {f"{POST}/{at(5)}": old[f"{POST}/{at(-1003)}"]}, at(10))
    with pytest.raises(DiffUnexplained, match="new by its key"):
        read(difference(moved, before), before)


def test_deletions_leave_no_trace() -> None:
    old = base()
    before = repository(old, at(0))
    kept = {key: value for n, (key, value) in enumerate(old.items()) if n % 3}
    after = repository(kept, at(10))
    assert new_records(read(difference(after, before), before)) == {}


def test_no_block_can_be_lost_on_the_way() -> None:
    """A host streams without a snapshot: whichever node is gone by then, no new record is missed."""
    old = base()
    before = repository(old, at(0))
    new = {f"{LIKE}/{at(n)}": {"text": f"new {n}"} for n in range(1, 60)}
    after = repository(old | new | {"app.bsky.actor.profile/self": {"displayName": "after"}}, at(100))
    came = after.blocks.keys() - before.blocks.keys()
    lost = [block for block in came if block in after.nodes]
    lost += [after.records[key] for key in new]
    assert len(lost) > 60
    for block in lost:
        with pytest.raises(DiffUnexplained):
            read(difference(after, before, without=[block]), before)
    with pytest.raises(DiffUnexplained, match="did not come"):
        read(difference(after, before, without=[after.commit]), before)
    with pytest.raises(DiffUnexplained, match="did not come"):
        read(difference(after, after), before)


def test_a_block_that_nothing_refers_to_is_not_passed_over() -> None:
    before = repository(base(), at(0))
    after = repository(base() | {f"{LIKE}/{at(1)}": {"text": "new"}}, at(9))
    later = encode_record({"text": "of a commit to come"})
    stray = bytes([len(later) + 36]) + cid_of(later) + later
    with pytest.raises(DiffUnexplained, match="1 blocks came"):
        read(difference(after, before) + stray, before)


def test_a_repository_that_went_back_is_not_explained() -> None:
    before = repository(base(), at(0))
    for rev in (at(0), at(-5)):
        with pytest.raises(DiffUnexplained, match="not later"):
            read(repository(base(199), rev).car(), before)


def test_a_host_that_answers_all_is_taken_at_its_word() -> None:
    before = repository(base(), at(0))
    after = repository(base() | {f"{LIKE}/{at(1)}": {"text": "new"}}, at(9))
    found = read(after.car(), before)
    assert isinstance(found, Repo)
    assert len(found) == len(after.records)


def test_what_came_is_proven() -> None:
    before = repository(base(), at(0))
    after = repository(base() | {f"{LIKE}/{at(1)}": {"text": "new"}}, at(9))
    car = difference(after, before)
    with pytest.raises(SignatureInvalid):
        read(car, before, did_key(key_from_seed(2, 2)))
    with pytest.raises(SignatureInvalid, match="no key"):
        read(car, before, "did:key:zNone")
    with pytest.raises(BlockMismatch):
        read(car[:-1] + bytes([car[-1] ^ 1]), before)
    with pytest.raises(CommitForeign):
        diff.read(car, "did:plc:another", did_key(KEY), known(before), now=NOW)
