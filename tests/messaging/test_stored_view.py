"""A view in a file shows what is committed, goes on where it was killed, and knows when it can't."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from messaging.stored_view import StoredView
from schemas.errors import DeploymentError
from tests.messaging.broker import PATIENCE, delete_topic, make_topic, produce, settings, transactional
from tests.messaging.notes import Note, note

ROOT = Path(__file__).parents[2]
COMPACT = {"cleanup.policy": "compact"}
DAY = 24 * 3600.0


@pytest.fixture
def topic(kafka: str, prefix: str) -> str:
    name = f"{prefix}notes"
    make_topic(kafka, name, 2, COMPACT)
    return name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "views" / "notes.db"


def opened(kafka: str, topic: str, file: Path, **options: Any) -> StoredView[Note]:
    """A view that has reached the end."""
    view = StoredView(settings(kafka, ""), topic, Note.decode, file, **options)
    read_on(view)
    return view


def read_on(view: StoredView[Note]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not view.advance(1.0):
        assert time.monotonic() < deadline


def texts(view: StoredView[Note], *keys: str) -> list[str | None]:
    return [found.text if (found := view.get(key)) else None for key in keys]


def test_the_latest_message_of_a_key_counts_and_stays(kafka: str, topic: str, file: Path) -> None:
    view = opened(kafka, topic, file)
    assert (len(view), view.get("a")) == (0, None)
    produce(kafka, topic, 0, [("a", note("old")), ("b", note("b")), ("a", note("new")), ("b", None)])
    produce(kafka, topic, 1, [("c", None), ("c", note("back again")), ("nobody", None), ("odd", "no note")])
    read_on(view)
    assert texts(view, "a", "b", "c", "nobody", "odd") == ["new", None, "back again", None, None]
    view.close()

    produce(kafka, topic, 0, [("a", None), ("d", note("d"))])
    again = opened(kafka, topic, file)
    assert texts(again, "a", "c", "d") == [None, "back again", "d"]
    assert len(again) == 3
    again.close()


def test_what_was_read_is_not_read_again(kafka: str, topic: str, file: Path) -> None:
    """What the file says of a key holds until a message says otherwise: the topic is not asked anew."""
    produce(kafka, topic, 0, [("a", note("read")), ("b", note("read"))])
    opened(kafka, topic, file).close()
    with sqlite3.connect(file) as rows:
        rows.execute("UPDATE latest SET value = ?", (note("from the file").encode(),))
    rows.close()
    produce(kafka, topic, 0, [("b", note("written meanwhile"))])
    view = opened(kafka, topic, file)
    assert texts(view, "a", "b") == ["from the file", "written meanwhile"]
    view.close()


def test_an_open_transaction_holds_nobody_up(kafka: str, prefix: str, topic: str, file: Path) -> None:
    produce(kafka, topic, 0, [("a", note("1"))])
    with transactional(kafka, f"{prefix}writer") as writer:
        writer.begin_transaction()
        writer.produce(topic, note("2"), "a", 0)
        writer.flush(30)
        view = opened(kafka, topic, file)
        assert texts(view, "a") == ["1"]
        writer.abort_transaction(30)
        writer.begin_transaction()
        writer.produce(topic, note("3"), "a", 0)
        writer.commit_transaction(30)
        read_on(view)
        assert texts(view, "a") == ["3"]
    view.close()


def test_a_topic_that_was_made_again_is_another(kafka: str, topic: str, file: Path) -> None:
    produce(kafka, topic, 0, [("a", note("of the old")), ("b", note("of the old"))])
    view = opened(kafka, topic, file)
    admin = make_topic(kafka, f"{topic}-beside", 1)
    delete_topic(admin, topic)
    make_topic(kafka, topic, 2, COMPACT)
    produce(kafka, topic, 0, [("b", note("of the new"))] * 3)
    read_on(view)
    assert texts(view, "a", "b") == [None, "of the new"]
    view.close()
    delete_topic(admin, topic)
    make_topic(kafka, topic, 2, COMPACT)
    again = opened(kafka, topic, file)
    assert len(again) == 0
    again.close()


def test_deletions_that_may_have_been_missed(kafka: str, topic: str, file: Path) -> None:
    now = 1_800_000_000.0
    produce(kafka, topic, 0, [("a", note("1"))])
    opened(kafka, topic, file, clock=lambda: now).close()
    for later, kept in ((0.9 * DAY, True), (1.8 * DAY, True), (2.9 * DAY, False)):
        with sqlite3.connect(file) as rows:
            rows.execute("INSERT OR REPLACE INTO latest VALUES ('forgotten', x'7b')")
        rows.close()
        view = opened(kafka, topic, file, clock=lambda later=later: now + later)  # type: ignore[misc]
        assert len(view) == (2 if kept else 1)
        assert texts(view, "a") == ["1"]
        view.close()


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\x00" + b"\x00" * 5000])
def test_a_file_that_is_none_is_made_again(kafka: str, topic: str, file: Path, content: bytes) -> None:
    produce(kafka, topic, 0, [("a", note("1"))])
    file.parent.mkdir()
    file.write_bytes(content)
    view = opened(kafka, topic, file)
    assert texts(view, "a") == ["1"]
    view.close()


def test_two_processes_do_not_share_a_file(
    kafka: str, topic: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messaging.stored_view._LOCK_SECONDS", 0.1)
    view = opened(kafka, topic, file)
    with pytest.raises(DeploymentError, match="let no other process have this data folder"):
        opened(kafka, topic, file)
    view.close()
    opened(kafka, topic, file).close()


def test_killed_in_the_middle_it_goes_on_where_it_stands(kafka: str, topic: str, file: Path) -> None:
    """Whenever it is killed, the rows are exactly those of the positions beside them."""
    rng, count, keys = random.Random(5), 4000, 301
    written: list[list[tuple[str, str | None]]] = [
        [
            (f"{partition}-{rng.randrange(keys)}", None if rng.random() < 0.2 else note(str(n)))
            for n in range(count)
        ]
        for partition in range(2)
    ]
    for partition, messages in enumerate(written):
        produce(kafka, topic, partition, messages)
    reached = [0]
    for statements in (3, 30, 31, 200, 431, 1202):
        victim = [sys.executable, "-m", "tests.messaging.view_victim", kafka, topic, str(file)]
        ended = subprocess.run([*victim, str(statements)], cwd=ROOT, timeout=PATIENCE, check=False)
        assert ended.returncode == -signal.SIGKILL
        with sqlite3.connect(file) as rows:
            positions = dict(rows.execute("SELECT partition, position FROM positions"))
            found = dict(rows.execute("SELECT key, value FROM latest"))
        rows.close()
        expected = {key: value for p, at in positions.items() for key, value in written[p][:at]}
        assert found == {key: value.encode() for key, value in expected.items() if value is not None}
        reached.append(sum(positions.values()))
    assert reached == sorted(reached)
    assert len(set(reached)) > 3
    assert reached[-1] < 2 * count
    view = opened(kafka, topic, file)
    whole = {key: value for messages in written for key, value in messages}
    assert len(view) == sum(value is not None for value in whole.values())
    view.close()
