"""Messages of `records` as rows: the fast way agrees with the models, and nothing odd gets through."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.records import record_event, record_head, sync_event
from sinks.rows import Row, Sync, _judged, read

HEAD = record_head("did:plc:a", 1_700_000_000_000_000, "j", "commit", "3l")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.dictionaries(st.text(), JSON, max_size=4)


def event(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = orjson.loads(record_event(HEAD, "a.b.c", "k", "bafy", b"{}"))
    commit = made["commit"] | changes.pop("commit", {})
    return made | {"commit": commit} | changes


@given(RECORDS, st.text(), st.integers(0, 10**17), st.sampled_from(["commit", "cid"]), st.text())
def test_the_fast_way_and_the_models_agree(
    record: dict[str, Any], did: str, time_us: int, proof: Any, job: str
) -> None:
    value = record_event(
        record_head(did, time_us, job, proof, "3l"), "a.b.c", "k", "bafy", orjson.dumps(record)
    )
    assert read(value, 1, 2) == _judged(value, 1, 2)


@given(RECORDS)
def test_another_producers_spelling_is_read_all_the_same(record: dict[str, Any]) -> None:
    made = event(commit={"record": record})
    backwards = {"commit": dict(reversed(made.pop("commit").items()))} | made
    row = read(orjson.dumps(backwards, option=orjson.OPT_INDENT_2), 1, 2)
    assert isinstance(row, Row)
    assert orjson.loads(row.record) == record


def test_the_record_is_kept_to_the_byte() -> None:
    record = b'{"n":-18446744073709551616,"x":"\\u00e4"}'
    row = read(record_event(HEAD, "a.b.c", "k", "bafy", record), 1, 2)
    assert isinstance(row, Row)
    assert row.record.encode() == record


def test_a_sync_marker_is_no_row() -> None:
    for since in (None, "3k"):
        assert read(sync_event("did:plc:a", 5, "j", "3l", 8, "all", since), 1, 2) == Sync("did:plc:a", "j")


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"[]",
        b"null",
        b'"x"',
        b"\xff",
        orjson.dumps(event(did=["did:plc:a"])),
        orjson.dumps(event(did=None)),
        orjson.dumps(event(job=5)),
        orjson.dumps(event(proof="none")),
        orjson.dumps(event(time_us=-1)),
        orjson.dumps(event(time_us=10**18)),
        orjson.dumps(event(time_us=1.5)),
        orjson.dumps(event(kind="other")),
        orjson.dumps(event(more=1)),
        orjson.dumps(event(commit={"record": []})),
        orjson.dumps(event(commit={"rkey": 5})),
        orjson.dumps(event(commit={"more": 1})),
        orjson.dumps(event(commit={"operation": "delete"})),
    ],
)
def test_what_is_no_event_is_refused(value: bytes | None) -> None:
    with pytest.raises(ValidationError):
        read(value, 1, 2)
