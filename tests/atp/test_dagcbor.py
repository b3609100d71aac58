"""Records as JSON: exactly what was signed, or RecordInvalid; judged by vectors and another decoder."""

from __future__ import annotations

import base64
import json
from typing import Any

import cbrrr
import dag_cbor
import libipld
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import CID

from atp import cid, dagcbor
from schemas.errors import RecordInvalid
from tests.atp.builder import Cid, Raw, Unsorted, cbor, cid_of, post
from tests.atp.vectors import cases

LINK = cid_of(b"a block")
BLOB = {"$type": "blob", "ref": Cid(b"\x01\x55" + LINK[2:]), "mimeType": "image/png", "size": 10}


@pytest.mark.parametrize("case", cases("data-model/data-model-fixtures.json"))
def test_the_fixtures_of_the_data_model(case: dict[str, Any]) -> None:
    block = base64.b64decode(case["cbor_base64"] + "==")
    assert cid.to_text(cid.of_dag_cbor(block)) == case["cid"]
    text, value = dagcbor.to_json(block)
    assert json.loads(text) == case["json"] == value


@pytest.mark.parametrize("case", cases("data-model/data-model-valid.json"), ids=lambda case: case["note"])
def test_the_valid_cases_of_the_data_model(case: dict[str, Any]) -> None:
    record = json.loads(json.dumps(case["json"]).replace("123.0", "123"))
    assert json.loads(dagcbor.to_json(cbor(record))[0]) == case["json"]


@pytest.mark.parametrize("case", cases("data-model/data-model-invalid.json"), ids=lambda case: case["note"])
def test_the_invalid_cases_of_the_data_model(case: dict[str, Any]) -> None:
    # As CBOR, {"$link": …} in these cases is a map that bears that name; so is {"$bytes": …}.
    block = cbor(_with_links(case["json"])) if case["note"] != "float" else dag_cbor.encode(case["json"])
    with pytest.raises(RecordInvalid):
        dagcbor.to_json(block)


def _with_links(value: Any) -> Any:
    """The JSON of a vector as CBOR would hold it: well-formed links are links."""
    match value:
        case {"$link": str(text), **rest} if not rest and cid.is_syntax(text):
            return Cid(cid.from_text(text))
        case dict():
            return {name: _with_links(item) for name, item in value.items()}
    return value


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (cbor("text"), "not a map"),
        (cbor([1]), "not a map"),
        (cbor(LINK), "not a map"),
        (cbor(b"bytes"), "not a map"),
        (b"", "canonical"),
        (cbor({"a": 1}) + b"\x00", "canonical"),
        (cbor({"a": Raw(b"\xfb" + bytes(8))}), "float"),
        (cbor({"a": Raw(b"\x18\x01")}), "canonical"),
        (cbor({"a": Raw(b"\x9f\xff")}), "canonical"),
        (cbor({"a": Raw(b"\x61\xff")}), "canonical"),
        (cbor({"a": Raw(b"\xc1\x00")}), "canonical"),
        (cbor({"a": Raw(b"\xf7")}), "canonical"),
        (cbor({"a": Raw(b"\x9a\x7f\xff\xff\xff")}), "canonical"),
        (cbor(Unsorted(b=1, a=2)), "canonical"),
        (b"\xa2\x61a\x01\x61a\x02", "canonical"),
        (b"\xa1\x01\x02", "canonical"),
        (cbor({"a": Raw(b"\xd9\x00\x2a" + cbor(b"\x00" + LINK))}), "canonical"),
        (cbor({"a": 2**63}), "64 bits"),
        (cbor({"a": -(2**63) - 1}), "64 bits"),
        (cbor({"a": Cid(b"")}), "link"),
        (cbor({"a": Cid(b"\x12\x20" + LINK[4:])}), "link"),
        (cbor({"a": Cid(b"\x01\x70" + LINK[2:])}), "link"),
        (cbor({"a": Cid(LINK[:-1])}), "link"),
        (cbor({"a": [{"b": Cid(LINK + b"\x00")}]}), "link"),
        (cbor({"$link": "text"}), "reserved"),
        (cbor({"a": [{"$bytes": "AAAA", "b": 1}]}), "reserved"),
        (cbor({"$type": ""}), r"\$type"),
        (cbor({"a": {"$type": 1}}), r"\$type"),
        (cbor({"a": {"$type": b"bytes"}}), r"\$type"),
        (cbor({"a": {**BLOB, "ref": "text"}}), "blob"),
        (cbor({"a": {**BLOB, "mimeType": None}}), "blob"),
        (cbor({"a": {**BLOB, "size": True}}), "blob"),
        (cbor({"a": {"$type": "blob"}}), "blob"),
    ],
)
def test_what_is_not_valid_atproto_data(block: bytes, reason: str) -> None:
    with pytest.raises(RecordInvalid, match=reason):
        dagcbor.to_json(block)


@pytest.mark.parametrize(
    "record",
    [
        {},
        post("the words $link, $bytes and $type alone", more="$link", list=["$bytes", "$type"]),
        post(embed={"image": BLOB, "legacy": {"cid": "bafy", "mimeType": "image/png"}}),
        post(n=[2**53, -(2**53), 2**63 - 1, -(2**63), 0, -1, True, None]),
        post("Ünïcödé \u0000 \U0001f600"),
        {"b": b"\xd8\x2a\x58\x25\x00\x01"},  # bytes that look like the beginning of a link
    ],
)
def test_what_only_looks_suspicious_is_valid(record: dict[str, Any]) -> None:
    text, _ = dagcbor.to_json(cbor(record))
    assert cbrrr.encode_dag_cbor(json.loads(text), atjson_mode=True) == cbor(record)


@pytest.mark.parametrize("kind", ["list", "map"])
def test_nesting_has_a_limit_and_no_crash_beyond_it(kind: str) -> None:
    def nested(levels: int) -> bytes:
        """A map of so many levels in all."""
        opening = b"\x81" if kind == "list" else b"\xa1\x61a"
        return b"\xa1\x61a" + opening * (levels - 1) + b"\x01"

    dagcbor.to_json(nested(dagcbor.MAX_NESTING))
    for levels in dagcbor.MAX_NESTING + 1, 100_000:
        with pytest.raises(RecordInvalid, match="nested"):
            dagcbor.to_json(nested(levels))


INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
LINKS = st.binary(min_size=32, max_size=32).map(lambda digest: Cid(LINK[:4] + digest))
NAMES = TEXTS.filter(lambda name: name not in ("$link", "$bytes", "$type"))
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXTS | st.binary() | LINKS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
RECORDS = st.dictionaries(NAMES, VALUES, max_size=4)


def as_json(value: Any) -> Any:
    """What the specification makes of a value, by other means than the reader's."""
    match value:
        case CID():
            return {"$link": str(value.set(base="base32"))}
        case bytes():
            return {"$bytes": base64.b64encode(value).decode().rstrip("=")}
        case list():
            return [as_json(item) for item in value]
        case dict():
            return {name: as_json(item) for name, item in value.items()}
    return value


@given(RECORDS)
def test_another_decoder_reads_the_same(record: dict[str, Any]) -> None:
    block = cbor(record)
    text, _ = dagcbor.to_json(block)
    assert json.loads(text) == as_json(dag_cbor.decode(block))


@given(RECORDS, st.data())
def test_a_damaged_record_is_another_record_or_invalid(record: dict[str, Any], data: st.DataObject) -> None:
    block = bytearray(cbor(record))
    place = data.draw(st.integers(0, len(block) - 1))
    block[place] ^= data.draw(st.integers(1, 255))
    try:
        text, _ = dagcbor.to_json(bytes(block))
    except RecordInvalid:
        return
    # Whatever passed has one encoding, this one, and another decoder takes it too.
    assert cbrrr.encode_dag_cbor(json.loads(text), atjson_mode=True) == block
    assert isinstance(libipld.decode_dag_cbor(bytes(block)), dict)
