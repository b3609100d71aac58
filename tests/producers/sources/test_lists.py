"""Lists of this machine under the contract: the document itself, files in every form, SQLite."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import cramjam
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producers.sources import AccountSource
from producers.sources.base import LONGEST_CURSOR, Entry, Page
from tests.producers.deployment import did
from tests.producers.sources.contract import MANY, PAGE, SourceContract, Stand
from tests.producers.sources.stand import accounts, reach_of, read, read_some, refusal, source_of


def mixed(names: Sequence[str], malformed: int, blank: str) -> list[str]:
    """The names with so many blank rows between them, at both ends too."""
    rows = list(names)
    for number in range(malformed):
        rows.insert(number * 3 % (len(rows) + 1) if number else len(rows), blank)
    return rows


class InlineStand(Stand):
    malformed = "blank"

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind, self._names = folder, kind, [""]

    async def put(self, names: Sequence[str], malformed: int = 0) -> None:
        self._names = mixed(names, malformed, " ") or [" "]

    async def take_away(self) -> None:
        self._names = [""]

    async def spoil(self) -> None:
        self._names = ["\t"]

    def source(self, page: int = PAGE) -> AccountSource:
        key = {"inline": "dids", "handles": "handles"}[self._kind]
        names = (
            self._names if self._kind == "inline" else [name.replace("did:", "did.") for name in self._names]
        )
        return source_of({"type": self._kind, key: names}, reach_of(self._folder), page=page)

    def same(self, found: Sequence[str], wanted: Sequence[str]) -> bool:
        handles = ([name.replace("did:", "did.") for name in names] for names in (found, wanted))
        return super().same(*handles)


class TestInline(SourceContract):
    @pytest.fixture
    def stand(self, tmp_path: Path) -> Stand:
        return InlineStand(tmp_path, "inline")


class TestHandles(SourceContract):
    @pytest.fixture
    def stand(self, tmp_path: Path) -> Stand:
        return InlineStand(tmp_path, "handles")


class FileStand(Stand):
    """A file in one of its forms; `spoil` writes what the form can't be."""

    malformed = "blank"

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._file = folder, folder / name
        if name.startswith("plain"):
            self.malformed = None

    async def put(self, names: Sequence[str], malformed: int = 0) -> None:
        self._file.write_bytes(content(self._file.name, mixed(names, malformed, "")))

    async def take_away(self) -> None:
        self._file.unlink(missing_ok=True)

    async def spoil(self) -> None:
        self._file.write_bytes(b"\xff\xfe\x00 nothing that anybody could read \xff")

    def source(self, page: int = PAGE) -> AccountSource:
        return source_of({"type": "file", "path": str(self._file)}, reach_of(self._folder), page=page)


def content(name: str, rows: Sequence[str]) -> bytes:
    """A file of this name with these rows; an empty text is a row without an account."""
    if name.endswith(".parquet"):
        table = pa.table({"did": pa.array([row or None for row in rows], pa.string())})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=7)
        return bytes(sink.getvalue().to_pybytes())
    if ".jsonl" in name:
        text = "".join(orjson.dumps({"did": row or None, "n": 1}).decode() + "\n" for row in rows)
    elif ".csv" in name:
        text = "n,did\n" + "".join(f"1,{row}\n" for row in rows)
    else:
        text = "".join(f"{row}\n" for row in rows)
    raw = text.encode()
    if name.endswith(".gz"):
        return gzip.compress(raw)
    return bytes(cramjam.zstd.compress(raw)) if name.endswith(".zst") else raw


FORMS = [
    "plain.txt",
    "plain.txt.zst",
    "list.csv",
    "list.csv.gz",
    "list.jsonl",
    "list.jsonl.zst",
    "list.parquet",
]


class TestFile(SourceContract):
    @pytest.fixture(params=FORMS)
    def stand(self, tmp_path: Path, request: pytest.FixtureRequest) -> Stand:
        return FileStand(tmp_path, request.param)


class SqliteStand(Stand):
    malformed = "blank"

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "accounts.db"

    async def put(self, names: Sequence[str], malformed: int = 0) -> None:
        with sqlite3.connect(self._file) as connection:
            connection.execute("CREATE TABLE dids (did TEXT)")
            rows = [(row or None,) for row in mixed(names, malformed, "")]
            connection.executemany("INSERT INTO dids VALUES (?)", rows)
        connection.close()

    async def take_away(self) -> None:
        self._file.unlink(missing_ok=True)

    async def spoil(self) -> None:
        self._file.write_bytes(b"no database" * 999)

    def source(self, page: int = PAGE) -> AccountSource:
        return source_of({"type": "sqlite", "path": str(self._file)}, reach_of(self._folder), page=page)


class TestSqlite(SourceContract):
    @pytest.fixture
    def stand(self, tmp_path: Path) -> Stand:
        return SqliteStand(tmp_path)


@pytest.mark.parametrize("name", ["plain.txt", "list.parquet"])
async def test_a_list_that_changed_before_the_cursor_is_refused(tmp_path: Path, name: str) -> None:
    stand = FileStand(tmp_path, name)
    await stand.put(MANY)
    cursor = (await read_some(stand.source(), 2))[-1].cursor
    await stand.put([did(99), *MANY[1:]])
    assert "changed while its job was being planned" in await refusal(stand.source(), cursor)
    again = stand.source().again(cursor)
    assert again is not None
    with pytest.raises(Exception, match="its first 6 rows are not those read before"):
        await read(again)
    await stand.put(MANY[:4])
    assert "changed while its job was being planned" in await refusal(stand.source(), cursor)


async def test_a_list_may_grow_behind_the_cursor(tmp_path: Path) -> None:
    stand = FileStand(tmp_path, "plain.txt")
    await stand.put(MANY[:10])
    pages = await read_some(stand.source(), 2)
    await stand.put(MANY)
    rest = await read(stand.source().pages(pages[-1].cursor))
    assert accounts(pages + rest) == MANY


async def test_the_page_size_may_change_between_two_starts(tmp_path: Path) -> None:
    stand = FileStand(tmp_path, "list.csv.gz")
    await stand.put(MANY, malformed=5)
    pages = await read_some(stand.source(7), 1)
    assert accounts(pages + await read(stand.source(4).pages(pages[0].cursor))) == MANY


class Rambling(AccountSource):
    """A source whose places take more room than a checkpoint has."""

    @property
    def name(self) -> str:
        return "rambling"

    async def _pages(self, after: str | None) -> AsyncGenerator[Page, None]:
        yield Page([Entry(did(1))], "x" * (LONGEST_CURSOR + 1))


async def test_a_place_that_no_checkpoint_has_room_for_is_refused() -> None:
    assert "65537 characters" in await refusal(Rambling(1))
    assert Rambling(1).again("x") is None


async def test_a_path_that_can_not_be_asked_for_is_named(tmp_path: Path) -> None:
    for section in ({"type": "file", "path": "x" * 5000}, {"type": "sqlite", "path": "x" * 5000}):
        assert "can't be opened" in await refusal(source_of(section, reach_of(tmp_path)))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that breaks is needed")
async def test_a_file_that_breaks_while_it_is_read_is_named(tmp_path: Path) -> None:
    told = await refusal(source_of({"type": "file", "path": "/proc/self/mem"}, reach_of(tmp_path)))
    assert told == "/proc/self/mem can't be read: Input/output error"
