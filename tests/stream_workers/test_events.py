"""A repository as messages: what comes out, what is counted, and what is set aside with its bytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from atp import repo
from local.network import repo as network_repo
from local.network.keys import did_key, key_from_seed
from local.network.repo import build_car, encode_record
from messaging.clients import MESSAGE_BYTES
from schemas.records import RecordEvent
from stream_workers.fetch.events import RepoEvents
from stream_workers.fetch.selection import Selection
from tests.stream_workers.documents import DID, backfill

KEY = key_from_seed(1, 1)
REV = "3lbcv7quuzs2a"
NOW = 1_800_000_000.25
POST, LIKE, FOLLOW = "app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.graph.follow"
FLOAT = bytes.fromhex("a1") + b"\x65score" + bytes.fromhex("fb3fe0000000000000")
"""{"score": 0.5} as CBOR, which is no atproto data."""


def events_of(records: Mapping[str, Any], **selected: Any) -> tuple[RepoEvents, list[bytes]]:
    """The events of a repository with these records, iterated over to their end."""
    proven = repo.read(build_car(DID, KEY, dict(records), REV), DID, did_key(KEY), now=NOW)
    events = RepoEvents(proven, "a-job", "https://one.test", Selection(backfill(**selected)), NOW)
    return events, list(events)


def test_every_record_becomes_an_event_in_the_order_of_keys() -> None:
    records: dict[str, dict[str, Any]] = {
        f"{POST}/3kaaaaaaaaa2b": {
            "text": 'quotes " and \\ and ü🚀\u2028',
            "createdAt": "2024-05-01T00:00:00Z",
        },
        f"{LIKE}/3kaaaaaaaaa2a": {"subject": {"cid": "x"}, "n": 2**60},
        f"{POST}/3kaaaaaaaaa2a": {"text": ""},
        "app.bsky.actor.profile/self": {"avatar": {"$bytes": "AAEC"}},
    }
    events, messages = events_of(records)
    found = [RecordEvent.model_validate_json(message) for message in messages]
    assert {f"{e.commit.collection}/{e.commit.rkey}": e.commit.record for e in found} == records
    assert [f"{e.commit.collection}/{e.commit.rkey}" for e in found] == sorted(records)
    cids = {key: cid_text(encode_record(record)) for key, record in records.items()}
    assert {f"{e.commit.collection}/{e.commit.rkey}": e.commit.cid for e in found} == cids
    assert {(e.did, e.job, e.proof, e.kind, e.commit.rev, e.time_us) for e in found} == {
        (DID, "a-job", "commit", "commit", REV, 1_800_000_000_250_000)
    }
    assert events.records == {POST: 2, LIKE: 1, "app.bsky.actor.profile": 1}
    assert events.dropped == {}
    assert (events.undated, events.broken) == (0, [])


def cid_text(block: bytes) -> str:
    """CID v1, DAG-CBOR, SHA-256, base32: by the simulated network's encoder, not the reader's."""
    return network_repo.cid_text(network_repo.cid_of(block))


def test_an_empty_repository_has_no_events() -> None:
    events, messages = events_of({})
    assert messages == []
    assert (events.records, events.dropped, events.undated) == ({}, {}, 0)


def test_what_is_left_out_is_counted_by_reason() -> None:
    wanted, other_rkey = f"{POST}/3kaaaaaaaaa2a", f"{POST}/3kaaaaaaaaa2b"
    records = {
        wanted: {"text": "in", "createdAt": "2024-05-01T00:00:00Z"},
        other_rkey: {"text": "another uri", "createdAt": "2024-05-01T00:00:00Z"},
        f"{POST}/3kaaaaaaaaa2c": {"text": "too early", "createdAt": "2020-05-01T00:00:00Z"},
        f"{POST}/self": {"text": "no date, no TID"},
        f"{LIKE}/3kaaaaaaaaa2a": {"createdAt": "2024-05-01T00:00:00Z"},
        f"{FOLLOW}/3kaaaaaaaaa2a": {"createdAt": "2024-05-01T00:00:00Z"},
    }
    uris = [f"at://{DID}/{POST}/{rkey}" for rkey in ("3kaaaaaaaaa2a", "3kaaaaaaaaa2c", "self")]
    events, messages = events_of(
        records, record_types=["post"], uris=uris, time_range={"start_date": "2024-05-01"}
    )
    assert [orjson.loads(m)["commit"]["rkey"] for m in messages] == ["3kaaaaaaaaa2a"]
    assert events.records == {POST: 1}
    assert events.dropped == {"record_type": 2, "uri": 1, "time_range": 2}
    assert events.undated == 1


def test_an_undated_record_that_its_tid_saves_is_counted_too() -> None:
    records = {f"{POST}/3lbcv7quuzs2a": {"text": "x", "createdAt": "yesterday"}}  # the TID is of 2024
    events, messages = events_of(records, time_range={"start_date": "2024-01-01"})
    assert len(messages) == 1
    assert events.undated == 1


def test_a_broken_record_is_set_aside_alone_with_its_bytes() -> None:
    records = {f"{POST}/3kaaaaaaaaa2a": {"text": "fine"}, f"{POST}/3kaaaaaaaaa2b": FLOAT}
    events, messages = events_of(records)
    assert len(messages) == 1
    assert events.records == {POST: 1}
    assert events.dropped == {"invalid": 1}
    (letter,) = events.broken
    assert (letter.stage, letter.error_type, letter.reason) == ("record", "validation_failed", "invalid")
    assert (letter.job_id, letter.did, letter.host) == ("a-job", DID, "https://one.test")
    assert letter.uri == f"at://{DID}/{POST}/3kaaaaaaaaa2b"
    assert base64.b64decode(letter.block or "") == FLOAT
    assert letter.detail
    assert letter.at.timestamp() == NOW


def test_a_broken_record_that_is_not_wanted_is_no_dead_letter() -> None:
    events, messages = events_of({f"{POST}/3kaaaaaaaaa2b": FLOAT}, record_types=["like"])
    assert (messages, events.broken, events.dropped) == ([], [], {"record_type": 1})


def test_a_record_too_large_for_a_message_is_set_aside_with_its_beginning() -> None:
    fits, too_large = MESSAGE_BYTES - 8192, MESSAGE_BYTES
    records = {
        f"{POST}/3kaaaaaaaaa2a": {"text": "a" * fits},
        f"{POST}/3kaaaaaaaaa2b": {"text": "b" * too_large},
    }
    events, messages = events_of(records)
    assert [orjson.loads(m)["commit"]["rkey"] for m in messages] == ["3kaaaaaaaaa2a"]
    assert events.dropped == {"too_large": 1}
    assert events.records == {POST: 1}
    (letter,) = events.broken
    assert letter.reason == "too_large"
    assert str(too_large) in letter.detail or str(too_large + len('{"text":""}')) in letter.detail
    assert base64.b64decode(letter.block or "").startswith(b'{"text":"bbbb')


def test_no_message_and_no_dead_letter_is_larger_than_kafka_takes() -> None:
    """The record at the very edge, one beyond it, and a broken block of the same size."""
    edge = MESSAGE_BYTES - 4096 - len('{"text":""}')
    broken = b"\xa1\x64text\x7a" + (MESSAGE_BYTES).to_bytes(4, "big") + b"\xff" * MESSAGE_BYTES
    records: dict[str, Any] = {
        f"{POST}/{'r' * 512}": {"text": "a" * edge},
        f"{POST}/{'s' * 512}": {"text": "a" * (edge + 1)},
        f"{POST}/{'t' * 512}": broken,
    }
    events, messages = events_of(records)
    assert (len(messages), len(events.broken)) == (1, 2)
    for message in [*messages, *(letter.encode() for letter in events.broken)]:
        assert len(message) + len(DID) < MESSAGE_BYTES - 500
