"""Files of the directory's log: both forms, compressed or not, in pieces, and what is wrong with them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import cramjam
import pytest

from atp import plc_import
from atp.identity import Identity
from atp.plc import Position
from atp.plc_import import import_file
from atp.plc_writer import MirrorWriter
from schemas.errors import SkyfillError, SourceError
from tests.atp.builder import DID
from tests.atp.plc_rows import TOMBSTONE, did, line, moved, numbered, timed, update

HOUR = 3600
NOW = 1_682_950_000.0
"""Some hours after the rows' log began."""


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[MirrorWriter]:
    with MirrorWriter(tmp_path / "plc.sqlite", "https://plc.example", clock=lambda: NOW) as mirror:
        yield mirror


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def write(path: Path, *rows: bytes) -> Path:
    path.write_bytes(b"".join(row + b"\n" for row in rows))
    return path


def pds_of(mirror: MirrorWriter, did: str = DID) -> str | None:
    found = mirror.find(did)
    return found.pds if isinstance(found, Identity) else None


def position_of(mirror: MirrorWriter) -> tuple[int | None, int]:
    position = mirror.status().position
    assert position is not None
    return position.seq, (position.created - 1_682_899_200_000) // 1000


@pytest.mark.parametrize("ending", [".jsonl", ".gz", ".jsonl.GZ", ".zst"])
def test_plain_and_compressed_in_one_piece_or_several(
    mirror: MirrorWriter, tmp_path: Path, ending: str
) -> None:
    rows = [numbered(moved(f"https://h{n}.example"), n, of=did(n % 50)) for n in range(1, 201)]
    halves = [b"\n".join(rows[:100]) + b"\n\n", b"\n".join(rows[100:])]
    if ending.lower().endswith(".gz"):
        halves = [gzip.compress(half) for half in halves]
    elif ending == ".zst":
        halves = [bytes(cramjam.zstd.compress(half)) for half in halves]
    file = tmp_path / f"log{ending}"
    file.write_bytes(b"".join(halves))
    assert import_file(mirror, file) == (200, 0)
    assert position_of(mirror) == (200, 200)
    assert [pds_of(mirror, did(n)) for n in range(50)] == [
        f"https://h{n + 150}.example" for n in [50, *range(1, 50)]
    ]


def test_files_one_after_the_other(mirror: MirrorWriter, file: Path) -> None:
    write(file, *(numbered(moved(f"https://h{n}.example"), n) for n in range(10, 20)))
    assert import_file(mirror, file) == (10, 0)
    write(file, *(numbered(moved(f"https://h{n}.example"), n) for n in range(15, 25)))
    assert import_file(mirror, file) == (5, 5)
    assert import_file(mirror, file) == (0, 10)
    write(file, *(numbered(moved(f"https://h{n}.example"), n) for n in range(25, 27)))
    assert import_file(mirror, file) == (2, 0)
    assert (position_of(mirror), pds_of(mirror)) == ((26, 26), "https://h26.example")
    assert mirror.status().operations == 17


def test_no_file_makes_a_gap_unless_the_user_knows_better(mirror: MirrorWriter, file: Path) -> None:
    import_file(mirror, write(file, numbered(update(), 5)))
    write(file, numbered(moved("https://new.example"), 7))
    with pytest.raises(
        SourceError, match=r"begins at operation 7, but the mirror ends at operation 5.*--follows"
    ):
        import_file(mirror, file)
    assert (position_of(mirror), pds_of(mirror)) == ((5, 5), "https://pds.example")
    assert import_file(mirror, file, follows=True) == (1, 0)
    assert (position_of(mirror), pds_of(mirror)) == ((7, 7), "https://new.example")
    with pytest.raises(
        SourceError, match=r"begins at 2023-05-01 00:00:08 UTC, but the mirror ends at 2023-05"
    ):
        import_file(mirror, write(file, timed(update(), 8)))


def test_a_file_by_time_knows_what_was_taken_back(mirror: MirrorWriter, file: Path) -> None:
    write(
        file,
        timed(moved("https://first.example"), 0),
        timed(TOMBSTONE, 1, nullified=True),
        timed(moved("https://won-back.example"), 2),
        timed(moved("https://thief.example"), 3, nullified=True),
        timed(TOMBSTONE, 3, of=did(1), nullified=True),
    )
    assert import_file(mirror, file) == (5, 0)
    assert (position_of(mirror), pds_of(mirror)) == ((None, 3), "https://won-back.example")
    assert (mirror.status().dids, list(mirror.entries([did(1)]))) == (1, [])


def test_a_file_by_time_after_one_by_number_and_the_other_way_round(mirror: MirrorWriter, file: Path) -> None:
    import_file(
        mirror, write(file, numbered(update(), 1, at=0), numbered(update(), 2, of=did(1), at=2 * HOUR))
    )
    write(
        file,
        timed(update(), 0),
        timed(update(), 2 * HOUR, of=did(1)),
        timed(moved("https://new.example"), 3 * HOUR),
    )
    assert import_file(mirror, file) == (2, 1), "what is more than an hour behind was read for certain"
    assert (position_of(mirror), pds_of(mirror)) == ((None, 3 * HOUR), "https://new.example")

    # The same log by number: it goes on from an hour before.
    write(
        file,
        numbered(update(), 1, at=0),
        numbered(update(), 2, of=did(1), at=2 * HOUR),
        numbered(moved("https://new.example"), 3, at=3 * HOUR),
        numbered(moved("https://newer.example"), 4, at=4 * HOUR),
    )
    assert import_file(mirror, file) == (3, 1)
    assert (position_of(mirror), pds_of(mirror)) == ((4, 4 * HOUR), "https://newer.example")


def test_an_older_file_by_time_changes_nothing(mirror: MirrorWriter, file: Path) -> None:
    import_file(mirror, write(file, numbered(update(), 1, at=HOUR)))
    assert import_file(mirror, write(file, timed(moved("https://old.example"), HOUR - 1))) == (1, 0)
    assert (position_of(mirror), pds_of(mirror)) == ((1, HOUR), "https://pds.example")


def test_an_import_that_breaks_off_goes_on_behind_what_it_has(
    mirror: MirrorWriter, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plc_import, "_BATCH", 10)
    rows = [numbered(update(), n, of=did(n)) for n in range(1, 36)]
    told: list[tuple[int, Position]] = []

    def tell(count: int, position: Position) -> None:
        told.append((count, position))

    with pytest.raises(SourceError, match="line 26 is not JSON"):
        import_file(mirror, write(file, *rows[:25], b"{", *rows[25:]), tell=tell)
    assert [(count, position.seq) for count, position in told] == [(10, 10), (20, 20)]
    assert (mirror.status().dids, position_of(mirror)) == (20, (20, 20))
    assert import_file(mirror, write(file, *rows)) == (15, 20)
    assert (mirror.status().dids, mirror.status().operations) == (35, 35)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"did,handle\n", "line 1 is not JSON"),
        (numbered(update(), 2) + b"\n" + numbered(update(), 1), "line 2 goes back in the log"),
        (timed(update(), 2) + b"\n" + timed(update(), 1), "line 2 goes back in the log"),
        (
            timed(update(), 2) + b"\n" + numbered(update(), 3),
            "line 2 goes back in the log, or changes its form",
        ),
        (b"x" * (3 << 20), "has a line above 1,048,576 bytes"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_wrong_with_a_file_is_said(
    mirror: MirrorWriter, file: Path, content: bytes, words: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(SourceError, match=words):
        import_file(mirror, file)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_damaged_archive_is_told_apart(mirror: MirrorWriter, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"log{ending}"
    compress = gzip.compress if ending == ".gz" else lambda text: bytes(cramjam.zstd.compress(text))
    file.write_bytes(compress(b"\n".join(numbered(update(), n) for n in range(1, 300)))[:-20])
    for content in (file.read_bytes(), b"no archive at all" * 100):
        file.write_bytes(content)
        with pytest.raises(SourceError, match="can't be read"):
            import_file(mirror, file)


def test_files_that_are_not_there_or_are_none(mirror: MirrorWriter, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        import_file(mirror, tmp_path / "nowhere.jsonl")
    with pytest.raises(SkyfillError, match="can't be read"):
        import_file(mirror, tmp_path)


def test_rows_of_other_kinds_are_passed_over(mirror: MirrorWriter, file: Path) -> None:
    assert import_file(mirror, write(file, line({}, 1, type="something", seq=1), numbered(update(), 2))) == (
        1,
        0,
    )
