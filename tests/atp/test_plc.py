"""Rows of the directory's log: what each kind of operation makes of its DID, and which of two counts."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from atp.identity import Identity, parse_document
from atp.plc import Operation, Position, moment, read_operation, read_row
from schemas.errors import AddressForbidden, IdentityIncomplete, IdentityTombstoned
from tests.atp.builder import DID
from tests.atp.plc_rows import LEGACY, OTHER_KEY, PDS, SIGNER, TOMBSTONE, line, moved, numbered, timed, update
from tests.atp.test_document import document

ALICE = Identity(DID, "alice.example", PDS, SIGNER.did_key)


def test_an_operation_means_what_the_directorys_document_would_say() -> None:
    assert read_operation(DID, update()) == ALICE == parse_document(DID, document())


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"handle": "at://Alice.Example"}, ALICE),
        ({"handle": "https://alice.example"}, ALICE),
        ({"service": "https://PDS.Example:443/"}, ALICE),
        ({"service": "http://pds.example"}, ALICE._replace(pds="http://pds.example")),
        ({"signingKey": OTHER_KEY}, ALICE._replace(signing_key=OTHER_KEY)),
    ],
    ids=str,
)
def test_a_legacy_create(changed: dict[str, Any], expected: Identity) -> None:
    assert read_operation(DID, LEGACY) == ALICE
    assert read_operation(DID, LEGACY | changed) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"verificationMethods": {"atproto": OTHER_KEY}}, ALICE._replace(signing_key=OTHER_KEY)),
        ({"alsoKnownAs": ["https://a", "at://bob.example"]}, ALICE._replace(handle="bob.example")),
        ({"alsoKnownAs": []}, ALICE._replace(handle=None)),
        (moved("https://PDS.example:443/xrpc"), ALICE),
        (moved("http://127.0.0.1:2583"), ALICE._replace(pds="http://127.0.0.1:2583")),
        ({"services": {**update()["services"], "labeler": {"type": "x", "endpoint": "y"}}}, ALICE),
    ],
    ids=str,
)
def test_a_change(changed: dict[str, Any], expected: Identity) -> None:
    assert read_operation(DID, update(**changed)) == expected


@pytest.mark.parametrize(
    ("operation", "error", "words"),
    [
        (TOMBSTONE, IdentityTombstoned, "deleted for good"),
        (update(services={}), IdentityIncomplete, "no PDS"),
        (update(services=None), IdentityIncomplete, "no PDS"),
        (update(services={"atproto_pds": {"type": "Other", "endpoint": PDS}}), IdentityIncomplete, "no PDS"),
        (update(verificationMethods={}), IdentityIncomplete, "no signing key"),
        (update(verificationMethods={"atproto": "did:key:z6Mk"}), IdentityIncomplete, "signing key"),
        (update(verificationMethods={"atproto": 5}), IdentityIncomplete, "no signing key"),
        (moved("nonsense"), IdentityIncomplete, "not the URL of a host"),
        (moved("https://user@pds.example"), AddressForbidden, "user information"),
        (LEGACY | {"service": None}, IdentityIncomplete, "no PDS"),
    ],
)
def test_an_operation_that_leads_to_no_account(operation: Any, error: type[Exception], words: str) -> None:
    answer = read_operation(DID, operation)
    assert type(answer) is error
    assert words in str(answer)


def test_an_operation_of_a_kind_to_come_is_for_the_directory() -> None:
    assert read_operation(DID, {"type": "plc_something"}) is None


def test_rows_of_both_modes() -> None:
    created = 1_682_899_205_250
    assert read_row(numbered(update(), 7, at=5.25)) == Operation(DID, 7, created, False, ALICE)
    assert read_row(timed(update(), 5.25)) == Operation(DID, None, created, False, ALICE)
    assert read_row(timed(update(), 5.25, nullified=True)) == Operation(DID, None, created, True, ALICE)
    assert read_row(line(update(), 5, type="handle_event", seq=8)) is None
    assert moment(created) == "2023-05-01 00:00:05 UTC"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"<html>", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "not about a did:plc"),
        (line(update(), 0, of="did:web:alice.example"), "not about a did:plc"),
        (line(None, 0), "without operation"),
        (line(update(), 0, createdAt="yesterday"), "without operation or createdAt"),
        (line(update(), 0, seq="7"), "number '7'"),
        (line(update(), 0, seq=-1), "number '-1'"),
        (line(update(), 0, seq=True), "number 'True'"),
    ],
)
def test_what_is_no_row_is_said(row: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_row(row)


def last(rows: list[bytes]) -> Operation | None:
    """Which of these counts, taken in their order."""
    counting: Operation | None = None
    for row in rows:
        operation = read_row(row)
        assert operation is not None
        if operation.replaces(*(counting.seq, counting.created) if counting else (None, -1)):
            counting = operation
    return counting


def pds_of(operation: Operation | None) -> str:
    assert operation is not None
    assert isinstance(operation.answer, Identity)
    return operation.answer.pds


def test_the_highest_number_counts_whatever_the_order_and_the_clocks() -> None:
    """Number 3 took 2 back: it names 1 as its predecessor, which nothing here has to know."""
    rows = [
        numbered(moved("https://first.example"), 1, at=9),
        numbered(moved("https://thief.example"), 2, at=5),
        numbered(moved("https://won-back.example"), 3, at=1),
    ]
    for order in permutations(rows):
        assert pds_of(last(list(order))) == "https://won-back.example"


def test_a_nullified_row_never_counts() -> None:
    first, thief = timed(moved("https://first.example"), 1), timed(TOMBSTONE, 2, nullified=True)
    won_back = timed(moved("https://won-back.example"), 3)
    assert pds_of(last([first, thief, won_back])) == "https://won-back.example"
    assert pds_of(last([first, thief])) == pds_of(last([thief, first])) == "https://first.example"
    assert last([thief]) is None


def test_the_later_row_counts_where_one_form_meets_the_other() -> None:
    old, new = moved("https://old.example"), moved("https://new.example")
    for older in (numbered(old, 5, at=10), timed(old, 10)):
        for newer in (numbered(new, 6, at=11), timed(new, 11)):
            assert pds_of(last([older, newer])) == pds_of(last([newer, older])) == "https://new.example"
    # At one instant the file's order is all there is to know; a number is worth more.
    assert pds_of(last([timed(old, 10), timed(new, 10)])) == "https://new.example"
    assert pds_of(last([numbered(old, 5, at=10), timed(new, 10)])) == "https://old.example"
    assert pds_of(last([timed(old, 10), numbered(new, 5, at=10)])) == "https://new.example"


def test_a_position_moves_on_and_never_back() -> None:
    def at(seq: int | None, seconds: float) -> Operation:
        found = read_row(timed(update(), seconds) if seq is None else numbered(update(), seq, at=seconds))
        assert found is not None
        return found

    begin = at(5, 100).created
    position = Position(5, begin)
    assert position.after(at(6, 101)) == Position(6, begin + 1000)
    assert position.after(at(4, 99)) == position
    assert position.after(at(None, 99)) == position
    assert position.after(at(None, 101)) == Position(None, begin + 1000)
    assert Position(None, begin).after(at(4, 99)) == Position(4, begin - 1000)

    assert position.covers(at(5, 999))
    assert not position.covers(at(6, 0))
    assert not position.covers(at(None, 99)), "it may have come in late"
    assert position.covers(at(None, 99 - 3600))

    assert position.reaches(at(6, 999))
    assert not position.reaches(at(7, 0))
    assert position.reaches(at(None, 100))
    assert not position.reaches(at(None, 100.001))
