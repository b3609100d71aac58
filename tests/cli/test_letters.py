"""Choosing dead letters and showing them, whatever hosts wrote into them."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from atp import dagcbor
from cli.letters import as_json, listing, print_letter, print_replay, totals
from cli.moments import moment
from messaging.replaying import Chosen, replay_commands
from schemas.deadletter import DeadLetter, LetterId
from schemas.errors import ConfigError
from schemas.jobs import MOST_LETTERS
from schemas.outcomes import Replaced, RepoOutcome
from schemas.replays import Lot, Replay

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ID = LetterId(2, 1041)


def letter(**fields: Any) -> DeadLetter:
    known = {
        "stage": "fetch",
        "error_type": "timeout_error",
        "reason": "HostTimeout",
        "job_id": "mine",
        "did": "did:plc:a",
        "host": "https://pds.example.com:8443",
        "payload": '{"did":"did:plc:a"}',
        "at": NOW,
    }
    return DeadLetter.model_validate(known | fields)


def replay(**fields: Any) -> Replay:
    known = {"letter": str(ID), "job_id": "mine", "asked_at": NOW, "command": 1, "accounts": 1}
    return Replay.model_validate(known | fields)


def shown(show: Any, *arguments: Any) -> str:
    console = Console(file=io.StringIO(), width=300, markup=False, highlight=False)
    show(console, *arguments)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, True),
        ({"job": "mine", "stage": "fetch", "did": "did:plc:a"}, True),
        ({"job": "other"}, False),
        ({"stage": "record"}, False),
        ({"did": "did:plc:b"}, False),
        ({"reason": "HostTimeout", "error_type": "timeout_error"}, True),
        ({"reason": "HostTimeou"}, False),
        ({"error_type": "network_error"}, False),
        ({"host": "https://pds.example.com:8443"}, True),
        ({"host": "PDS.example.com"}, True),
        ({"host": "pds.example.com:8443"}, True),
        ({"host": "example.com"}, False),
        ({"since": NOW}, True),
        ({"since": NOW + timedelta(seconds=1)}, False),
        ({"until": NOW}, False),
        ({"until": NOW + timedelta(seconds=1)}, True),
        ({"replayed": False}, True),
        ({"replayed": True}, False),
    ],
)
def test_letters_are_chosen_by_what_is_known_of_them(chosen: dict[str, Any], expected: bool) -> None:
    assert Chosen(**chosen).holds(ID, letter(), {}) is expected
    assert Chosen(**chosen).all == (chosen == {})


def test_what_was_replayed_can_be_chosen() -> None:
    replays = {str(ID): replay()}
    assert Chosen(replayed=True).holds(ID, letter(), replays)
    assert not Chosen(replayed=False).holds(ID, letter(), replays)
    assert not Chosen(host="pds.example.com").holds(ID, letter(host=None), replays)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30min", NOW - timedelta(minutes=30)),
        ("6h", NOW - timedelta(hours=6)),
        ("2 d", NOW - timedelta(days=2)),
        ("2026-01-30", datetime(2026, 1, 30, tzinfo=UTC)),
        ("2026-01-30T12:00", datetime(2026, 1, 30, 12, tzinfo=UTC)),
        ("2026-01-30T12:00:00+02:00", datetime(2026, 1, 30, 10, tzinfo=UTC)),
    ],
)
def test_times_as_people_write_them(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "6 fortnights", "2026-13-01", "999999999w", "-1h"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="is no point in time"):
        moment(text, NOW)


def test_each_letter_has_one_line_whatever_is_in_it() -> None:
    nasty = letter(detail="a\nb\x1b[2J", did=None, host="https://x/" + "y\x1b\n" * 200, reason="HostGivenUp")
    text = shown(lambda console: console.print(listing([(ID, letter()), (ID, nasty)], {str(ID): replay()})))
    lines = text.splitlines()
    assert len(lines) == 3
    assert "\x1b" not in text
    assert "did:plc:a" in lines[1]
    assert "all that are given up" in lines[2]


def test_the_last_line_counts() -> None:
    assert totals(0, 0, 0, Counter()) == "no dead letters"
    assert totals(1, 1, 0, Counter(A=1)) == "1 dead letter: 1 A"
    text = totals(3000, 100, 7, Counter(A=2000, B=1000))
    assert text == "3,000 dead letters, 7 replayed: 2,000 A, 1,000 B; the newest 100 are shown (--limit)"


def test_a_page_shows_everything() -> None:
    text = shown(print_letter, ID, letter(detail="silent\x07"))
    assert '"did": "did:plc:a"' in text
    assert "silent�" in text
    assert "replay it: skyfill deadletter replay 2:1041" in text


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (dagcbor.encode({"text": "hello"}), '"text": "hello"'),
        (b"\xa1\x61a\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00", "a1 61 61 fb 3f f8"),
        (b'{"text":"too long' + b"x" * 4000, "3,505 more"),
        (b"", "0 bytes"),
    ],
)
def test_a_raw_block_is_shown_as_what_it_can_be_read_as(raw: bytes, expected: str) -> None:
    broken = letter(stage="record", reason="invalid", payload=None, block=b64encode(raw).decode())
    text = shown(print_letter, ID, broken)
    assert expected in text
    assert "not replayable: one record is broken" in text


def test_json_is_whole_only_where_it_is_asked_for() -> None:
    broken = letter(block="AAAA")
    line = json.loads(as_json(ID, broken, None, whole=False))
    assert (line["id"], line["replay"], "payload" in line, "block" in line) == ("2:1041", None, False, False)
    whole = json.loads(as_json(ID, broken, replay(), whole=True))
    assert (whole["block"], whole["replay"]["command"]) == ("AAAA", 1)


def test_what_became_of_a_replay() -> None:
    replaced = Replaced(letter=str(ID), did="did:plc:a")
    failed = RepoOutcome(
        job_id="mine",
        did="did:plc:a",
        status="failed",
        reason="R",
        detail="no\x1b",
        replay=1,
        replaces=replaced,
    )
    done = failed.model_copy(update={"status": "completed", "reason": None})
    text = shown(print_replay, replay(), iter([failed]))
    assert "1 failed" in text
    assert "R: no�" in text
    assert "not ended again yet" in shown(print_replay, replay(), iter([]))
    lot = Lot(host="https://h", reason="HostGivenUp", cursor=1, until=5)
    text = shown(print_replay, replay(accounts=4, lot=lot), iter([done, done, failed]))
    assert "4 accounts" in text
    assert "2 completed" in text
    assert "1 not ended again yet" in text
    assert "not all of it is looked up yet" in text


def test_commands_are_small_and_name_every_letter_once() -> None:
    jobs = {"b": [LetterId(n % 3, 10**17 + n) for n in range(2500)], "a": [LetterId(0, 7)]}
    sent = list(replay_commands(jobs))
    assert [job for job, _ in sent] == ["a", "b", "b", "b"]
    named = Counter(name for job, command in sent if job == "b" for name in command.letters or ())
    assert named == Counter(map(str, jobs["b"]))
    assert all(len(command.encode()) <= 64 * 1024 for _, command in sent)
    assert all(0 < len(command.letters or ()) <= MOST_LETTERS for _, command in sent)
