"""CIDs: bytes and text of the two forms in use, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import CID

from atp import cid
from schemas.errors import CidUnsupported

DIGEST = bytes(range(32))


@given(st.binary(min_size=32, max_size=32), st.sampled_from([cid.DAG_CBOR, cid.RAW]))
def test_another_implementation_writes_the_same_text(digest: bytes, prefix: bytes) -> None:
    text = cid.to_text(prefix + digest)
    assert text == str(CID.decode(prefix + digest).set(base="base32"))
    assert cid.from_text(text) == prefix + digest


def test_the_hash_is_that_of_the_block() -> None:
    # The empty map, whose CID is well known.
    assert (
        cid.to_text(cid.of_dag_cbor(b"\xa0")) == "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        cid.DAG_CBOR + DIGEST[:-1],
        cid.DAG_CBOR + DIGEST + b"\x00",
        b"\x01\x70\x12\x20" + DIGEST,
        b"\x02\x71\x12\x20" + DIGEST,
        b"\x12\x20" + DIGEST,
    ],
)
def test_other_forms_are_not_supported(data: bytes) -> None:
    assert not cid.is_supported(data)
    assert not cid.is_dag_cbor(data)


def test_a_raw_block_is_supported_as_a_link_and_is_not_dag_cbor() -> None:
    assert cid.is_supported(cid.RAW + DIGEST)
    assert not cid.is_dag_cbor(cid.RAW + DIGEST)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "bé",
        cid.to_text(cid.DAG_CBOR + DIGEST).upper(),
        "z" + cid.to_text(cid.DAG_CBOR + DIGEST)[1:],
        cid.to_text(cid.DAG_CBOR + DIGEST)[:-1],
        cid.to_text(cid.DAG_CBOR + DIGEST)[:-1] + "b",  # other spare bits at the end: the same bytes
        cid.to_text(cid.DAG_CBOR + DIGEST) + "=",
        "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(CidUnsupported):
        cid.from_text(text)
