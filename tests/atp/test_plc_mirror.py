"""The mirror's file: what it holds, who may write it, and what is said when it can't be used."""

from __future__ import annotations

import logging
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from atp.identity import Identity
from atp.plc import Operation, Position
from atp.plc_mirror import PlcMirror, open_mirror
from atp.plc_writer import MirrorWriter
from schemas.errors import AddressForbidden, DeploymentError, IdentityIncomplete, IdentityTombstoned
from tests.atp.builder import DID
from tests.atp.plc_rows import OTHER_KEY, PDS, SIGNER, TOMBSTONE, did, moved, numbered, read, timed, update

DIRECTORY = "https://plc.example"
NOW = 1_682_900_000.0
"""Soon after the rows' log began."""
DAY = 86_400
ALICE = Identity(DID, "alice.example", PDS, SIGNER.did_key)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "plc.sqlite"


@pytest.fixture
def writer(path: Path) -> Iterator[MirrorWriter]:
    with MirrorWriter(path, f"{DIRECTORY}/", clock=lambda: NOW) as writer:
        yield writer


def apply(writer: MirrorWriter, *rows: bytes, caught_up: float | None = None) -> None:
    """Takes rows in, with the position behind the last."""
    operations = read(rows)
    position = writer.status().position or Position(None, -1)
    for operation in operations:
        position = position.after(operation)
    writer.apply(operations, position, caught_up=caught_up)


ANSWERS: list[tuple[Any, Any]] = [
    (update(), ALICE),
    (update(alsoKnownAs=[]), ALICE._replace(handle=None)),
    (update(alsoKnownAs=["at://a.bsky.social"]), ALICE._replace(handle="a.bsky.social")),
    (update(alsoKnownAs=["at://a.b.bsky.social"]), ALICE._replace(handle="a.b.bsky.social")),
    (update(alsoKnownAs=["at://bsky.social"]), ALICE._replace(handle="bsky.social")),
    (update(verificationMethods={"atproto": OTHER_KEY}), ALICE._replace(signing_key=OTHER_KEY)),
    (moved("http://127.0.0.1:2583"), ALICE._replace(pds="http://127.0.0.1:2583")),
    (TOMBSTONE, IdentityTombstoned),
    (update(services={}), IdentityIncomplete),
    (moved("https://u@pds.example"), AddressForbidden),
    ({"type": "plc_something"}, None),
]


@pytest.mark.parametrize(("operation", "expected"), ANSWERS, ids=lambda value: str(value)[:60])
def test_what_goes_in_comes_out(writer: MirrorWriter, operation: Any, expected: Any) -> None:
    apply(writer, numbered(operation, 1))
    found = writer.find(DID)
    if isinstance(expected, type):
        assert type(found) is expected
        assert str(found) == str(read([numbered(operation, 1)])[0].answer)
    else:
        assert found == expected


def test_a_mirror_that_is_far_behind_is_not_asked(writer: MirrorWriter, path: Path) -> None:
    assert writer.age() is writer.find(DID) is None
    apply(writer, numbered(update(), 100), numbered(TOMBSTONE, 101, of=did(1)))
    began = NOW - 800
    for later, known in (0, True), (29 * DAY, True), (31 * DAY, False):
        with PlcMirror(path, clock=lambda later=later: began + 101 + later) as mirror:
            assert mirror.age() == pytest.approx(later)
            assert (mirror.find(DID) == ALICE) is known
            assert isinstance(mirror.find(did(1)), IdentityTombstoned) is known
    # In the midst of a first sync: as soon as it is near the end, whoever has it open is answered.
    with PlcMirror(path, clock=lambda: began + 400 * DAY) as mirror:
        assert mirror.find(DID) is None
        apply(writer, numbered(moved("https://new.example"), 102, at=390 * DAY))
        assert mirror.find(DID) == ALICE._replace(pds="https://new.example")
        assert mirror.age() == 10 * DAY
    # In a log where nothing happens.
    with PlcMirror(path, clock=lambda: began + 900 * DAY) as mirror:
        assert mirror.find(DID) is None
        apply(writer, caught_up=began + 899 * DAY)
        assert (mirror.age(), mirror.find(DID) is None) == (DAY, False)


def test_later_operations_replace_earlier_ones_in_one_batch_and_over_several(writer: MirrorWriter) -> None:
    apply(writer, numbered(moved("https://a.example"), 1), numbered(moved("https://b.example"), 2))
    assert writer.find(DID) == ALICE._replace(pds="https://b.example")
    apply(writer, numbered(moved("https://c.example"), 3))
    apply(writer, numbered(moved("https://a.example"), 1), numbered(moved("https://b.example"), 2))
    assert writer.find(DID) == ALICE._replace(pds="https://c.example")
    assert writer.status().position == Position(3, read([numbered(update(), 3)])[0].created)


def test_a_numbered_log_goes_on_where_a_timed_one_ended(writer: MirrorWriter) -> None:
    apply(
        writer,
        timed(moved("https://a.example"), 10),
        timed(moved("https://thief.example"), 20, nullified=True),
    )
    assert writer.find(DID) == ALICE._replace(pds="https://a.example")
    # Number 1 is the row at 10 once more, 2 the thief's, unmarked, and 3 takes it back.
    apply(
        writer,
        numbered(moved("https://a.example"), 1, at=10),
        numbered(moved("https://thief.example"), 2, at=20),
    )
    apply(writer, numbered(moved("https://won-back.example"), 3, at=30))
    assert writer.find(DID) == ALICE._replace(pds="https://won-back.example")


def test_many_at_once_and_figures(writer: MirrorWriter, path: Path) -> None:
    rows = [numbered(moved(f"https://h{n % 7}.example"), n + 1, of=did(n)) for n in range(2500)]
    apply(writer, *rows)
    apply(writer, numbered(moved("https://new.example"), 2501, of=did(3)))
    with PlcMirror(path, clock=lambda: NOW) as mirror:
        found = mirror.find_many([did(n) for n in range(3000)] + ["did:web:a.example", "alice.example"])
        assert len(found) == 2500
        expected = ALICE._replace(did=did(11), pds="https://h4.example")
        assert (found[did(11)], mirror.find(did(2600)), mirror.find("did:plc:short")) == (
            expected,
            None,
            None,
        )
        status = mirror.status()
    assert (status.directory, status.operations, status.dids, status.caught_up) == (
        DIRECTORY,
        2501,
        2500,
        None,
    )
    assert status.position is not None
    assert status.position.seq == 2501
    assert status.size > 2500 * 80


def test_a_reader_sees_each_batch_as_soon_as_it_is_written_and_nothing_before(
    writer: MirrorWriter, path: Path
) -> None:
    with PlcMirror(path, clock=lambda: NOW) as mirror:
        for seq in range(1, 30):
            apply(writer, numbered(moved(f"https://h{seq}.example"), seq))
            assert mirror.find(DID) == ALICE._replace(pds=f"https://h{seq}.example")
        writer._db.execute("BEGIN IMMEDIATE")
        writer._db.execute("DELETE FROM accounts")
        assert mirror.find(DID) == ALICE._replace(pds="https://h29.example")
        writer._db.execute("ROLLBACK")


def test_a_batch_that_fails_leaves_nothing(writer: MirrorWriter) -> None:
    apply(writer, numbered(update(), 1))
    before = writer.status()._replace(size=0)
    broken = Operation(did(1), 2, 1 << 80, False, ALICE)
    with pytest.raises(OverflowError):
        writer.apply([*read([numbered(TOMBSTONE, 2)]), broken], Position(2, 5))
    assert writer.status()._replace(size=0) == before
    assert writer.find(DID) == ALICE


# What can be wrong with the file


@contextmanager
def little_room(byte_count: int) -> Iterator[None]:
    """No file grows beyond this, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte_count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk(writer: MirrorWriter, path: Path) -> None:
    apply(writer, numbered(update(), 1))
    rows = [numbered(update(), n + 2, of=did(n)) for n in range(5000)]
    with little_room(200_000), pytest.raises(DeploymentError, match=r"can't be written.*room"):
        apply(writer, *rows)
    assert writer.status().operations == 1
    apply(writer, *rows)
    assert (writer.status().operations, writer.find(DID)) == (5001, ALICE)


def test_two_cannot_write_at_once(path: Path) -> None:
    with (
        MirrorWriter(path, DIRECTORY),
        pytest.raises(DeploymentError, match="another sync or import writes"),
    ):
        MirrorWriter(path, DIRECTORY)
    MirrorWriter(path, DIRECTORY).close()


def test_a_mirror_of_another_directory(path: Path) -> None:
    MirrorWriter(path, DIRECTORY).close()
    with pytest.raises(DeploymentError, match=r"mirrors https://plc.example, not https://other.example"):
        MirrorWriter(path, "https://other.example")
    with pytest.raises(DeploymentError, match=r"mirrors https://plc.example, not https://other.example"):
        open_mirror(path, "https://other.example", required=True)
    assert open_mirror(path, "https://other.example", required=False) is None
    found = open_mirror(path, f"{DIRECTORY}/", required=False)
    assert found is not None
    found.close()


def test_there_is_no_mirror(path: Path) -> None:
    assert open_mirror(path, DIRECTORY, required=False) is None
    with pytest.raises(DeploymentError, match=r"there is no mirror at .*skyfill plc sync"):
        open_mirror(path, DIRECTORY, required=True)


def text_file(path: Path) -> None:
    path.write_text("this is no database, but something that somebody may want to keep" * 100)


def other_database(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE thesis (words TEXT)")
    db.close()


def other_version(path: Path) -> None:
    MirrorWriter(path, DIRECTORY).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=2")
    db.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [(text_file, "is not a mirror"), (other_database, "is not a mirror"), (other_version, "of form 2")],
)
def test_other_files_are_neither_read_nor_written(tmp_path: Path, make: Any, words: str) -> None:
    path = tmp_path / "plc.sqlite"
    make(path)
    before = path.read_bytes()
    for use in (PlcMirror, lambda path: MirrorWriter(path, DIRECTORY)):
        with pytest.raises(DeploymentError, match=words):
            use(path)
    assert path.read_bytes() == before
    (tmp_path / "plc.sqlite.lock").unlink()
    assert [entry.name for entry in tmp_path.iterdir()] == ["plc.sqlite"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeploymentError, match=r"can't be written: .*SKYFILL_NETWORK__PLC_MIRROR"):
        MirrorWriter(tmp_path / "file" / "plc.sqlite", DIRECTORY)


def test_a_mirror_that_breaks_while_it_is_read_counts_as_one_that_knows_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with MirrorWriter(path, DIRECTORY) as writer:
        apply(writer, numbered(update(), 1))
    with PlcMirror(path, clock=lambda: NOW) as mirror:
        assert mirror.find(DID) == ALICE
        with sqlite3.connect(path) as db:
            db.execute("DROP TABLE accounts")
        db.close()
        with caplog.at_level(logging.WARNING, "skyfill.plc"):
            assert mirror.find(DID) is mirror.find(did(1)) is None
    assert caplog.text.count("the directory is asked instead") == 1
