"""Sources: whatever form a list of accounts has, its entries come in order, and what is wrong is said."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cramjam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producers.sources import AccountSource
from schemas.errors import SourceError
from schemas.sources import FileSource, InlineSource, SqliteSource
from tests.producers.sources.stand import accounts, reach_of, read, source_of

A, B, C = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "bob.example.com", "did:web:carol.example"
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> str:
        raw = content.encode() if isinstance(content, str) else content
        path = tmp_path / name
        packed = {".gz": gzip.compress, ".zst": cramjam.zstd.compress}.get(path.suffix)
        path.write_bytes(bytes(packed(raw)) if packed else raw)
        return str(path)

    return write


def listed(source: FileSource | SqliteSource | InlineSource) -> list[str]:
    """All entries of a list, read at once."""
    return accounts(asyncio.run(read(source_of(source.model_dump(), reach_of(Path("unused"))).pages())))


def entries(path: str, column: str | None = None) -> list[str]:
    return listed(FileSource(type="file", path=path, column=column))


def refusal(path: str, column: str | None = None) -> str:
    with pytest.raises(SourceError) as caught:
        entries(path, column)
    assert path in str(caught.value)
    return str(caught.value)


def test_inline_entries_are_stripped() -> None:
    assert listed(InlineSource(type="inline", dids=[f" {A}", "", B, C])) == [A, B, C]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.txt", f"{A}\n{B}\n{C}"),
        ("comments.txt", f"# ours\n\n  {A}\n\t\n{B}  \n  # theirs\n{C}\n"),
        ("windows.txt", f"\ufeff{A}\r\n{B}\r\n\r\n{C}\r\n"),
        ("old-mac.txt", f"{A}\r{B}\r{C}\r"),
        ("packed.txt.gz", f"{A}\n{B}\n{C}\n"),
        ("no_suffix", f"{A}\n{B}\n{C}\n"),
        ("one.csv", f"account\n{A}\n{B}\n{C}\n"),
        ("bare.csv", f"{A}\n{B}\n{C}\n"),
        ("bare-marked.csv", f"\ufeff{A}\r\n{B}\r\n{C}\r\n"),
        ("did.csv", f"n,did,handle\n1,{A},x\n2,{B},\n3,{C},y\n"),
        ("case.csv", f"n, DID\n1, {A}\n2, {B}\n3,{C}\n"),
        ("handle.csv", f"n,handle\n1,{A}\n2,{B}\n3,{C}\n"),
        ("short.csv", f'n,did\n1,"{A}"\n\n2\n3,\n4,{B}\n5,{C},more\n'),
        ("excel.csv", f"\ufeffn;did\r\n1;{A}\r\n2;{B}\r\n3;{C}\r\n"),
        ("tabs.tsv", f"n\tdid\n1\t{A}\n2\t{B}\n3\t{C}\n"),
        ("packed.csv.gz", f"n,did\n1,{A}\n2,{B}\n3,{C}\n"),
        ("packed.csv.zst", f"n,did\n1,{A}\n2,{B}\n3,{C}\n"),
        ("bare.jsonl", f'"{A}"\n\n"{B}"\r\n " {C} "'),
        ("did.jsonl", f'{{"n": 1, "did": "{A}"}}\n{{"did": "{B}", "m": null}}\n{{"did": "{C}"}}\n'),
        ("case.ndjson", f'{{"Handle": "{A}"}}\n{{"x": 1}}\n{{"Handle": "{B}"}}\n{{"Handle": "{C}"}}\n'),
    ],
)
def test_text_and_csv_in_all_their_dialects(write: Write, name: str, content: str) -> None:
    path = write(name, content)
    assert entries(path) == [A, B, C]


def test_a_named_column_goes_before_the_usual_ones(write: Write) -> None:
    path = write("two.csv", f"did,other\n{A},{B}\n")
    assert entries(path) == [A]
    assert entries(path, "other") == [B]


def test_parquet_by_column_in_batches(tmp_path: Path) -> None:
    path = str(tmp_path / "accounts.parquet")
    many = [f"did:plc:{number}" for number in range(20_000)]
    table = pa.table(
        {
            "n": list(range(20_000)),
            "did": pa.array([*many[:-2], None, " "]),
            "kind": pa.array(["x.example"] * 20_000).dictionary_encode(),
        }
    )
    pq.write_table(table, path, row_group_size=6000)
    assert entries(path) == many[:-2]
    assert entries(path, "kind") == ["x.example"] * 20_000
    assert "column n holds int64, not text" in refusal(path, "n")
    assert "n, did, kind" in refusal(path, "nope")


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = str(tmp_path / "some #1?.db")
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE dids (did TEXT, n INTEGER)")
        connection.executemany("INSERT INTO dids VALUES (?, ?)", [(A, 3), (None, 9), (B, 2), ("", 8), (C, 1)])
    connection.close()
    return path


def ask(path: str, query: str) -> list[str]:
    return listed(SqliteSource(type="sqlite", path=path, query=query))


def test_sqlite_in_the_order_of_the_query(database: str) -> None:
    assert listed(SqliteSource(type="sqlite", path=database)) == [A, B, C]
    assert ask(database, "SELECT did FROM dids ORDER BY n") == [C, B, A]
    assert ask(database, "WITH x AS (SELECT lower(did) AS d FROM dids WHERE n < 3) SELECT d FROM x") == [B, C]
    assert ask(database, "SELECT n FROM dids LIMIT 1") == ["3"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("DELETE FROM dids", "may only read"),
        ("DROP TABLE dids", "may only read"),
        ("ATTACH 'x.db' AS x", "may only read"),
        ("PRAGMA journal_mode=DELETE", "may only read"),
        ("UPDATE dids SET n = 1 RETURNING did", "may only read"),
        ("SELECT did FROM dids; DELETE FROM dids", "one statement"),
        ("SELECT dod FROM dids", "dids(did, n)"),
        ("SELECT did FROM nothing", "tables there: dids(did, n)"),
        ("SELEC", "syntax error"),
        ("-- nothing", "has to be a SELECT"),
        ("SELECT load_extension('x')", "may only read"),
        ("SELECT did FROM dids WHERE n > 100", "holds no accounts"),
    ],
)
def test_sqlite_takes_nothing_but_a_select(database: str, query: str, told: str) -> None:
    before = Path(database).read_bytes()
    with pytest.raises(SourceError) as caught:
        ask(database, query)
    assert told in str(caught.value)
    assert database in str(caught.value)
    assert Path(database).read_bytes() == before


async def count(source: AccountSource) -> int:
    return sum([len(page.entries) async for page in source.pages()])


def test_a_large_table_is_streamed(tmp_path: Path) -> None:
    path = str(tmp_path / "large.db")
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE dids (did TEXT)")
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)"
        connection.execute(f"INSERT INTO dids {numbers} SELECT 'did:plc:' || i FROM n")
    connection.close()
    tracemalloc.start()
    assert asyncio.run(count(source_of({"type": "sqlite", "path": path}, reach_of(tmp_path)))) == 200_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_what_can_not_be_read_is_named_with_what_to_do(write: Write, tmp_path: Path) -> None:
    assert "does not exist" in refusal(str(tmp_path / "none.txt"))
    assert "looked for in" in refusal("none-at-all.txt")
    assert "not a regular file" in refusal(str(tmp_path))
    assert "its name does not tell" in refusal(write("list.xlsx", "x"))
    assert "its name does not tell" in refusal(write("list.parquet.gz", "x"))
    assert "not UTF-8 text" in refusal(write("latin.txt", b"caf\xe9\n"))
    assert "not UTF-8 text" in refusal(write("utf16.csv", "did\nx\n".encode("utf-16")))
    assert "NUL byte" in refusal(write("binary.txt", b"abc\0def\n"))
    assert "longer than 65536 characters" in refusal(write("long.txt", "x" * 70_000))
    assert "longer than 65536 characters" in refusal(write("long.csv", "did\n" + "x" * 70_000))
    assert "not a whole gzip file" in refusal(write_raw(tmp_path, "bad.txt.gz", b"not gzip"))
    packed = gzip.compress(b"did:plc:x\n" * 999)
    assert "not a whole gzip file" in refusal(write_raw(tmp_path, "cut.txt.gz", packed[:-20]))
    assert "not a whole gzip file" in refusal(write_raw(tmp_path, "sum.txt.gz", packed[:-8] + bytes(8)))
    packed = bytes(cramjam.zstd.compress(b"did:plc:x\n" * 9999))
    assert "not a whole zstd file" in refusal(write_raw(tmp_path, "bad.txt.zst", b"not zstd"))
    assert "not a whole zstd file" in refusal(write_raw(tmp_path, "cut.csv.zst", packed[:-9]))
    assert "n, account" in refusal(write("two.jsonl", '{"n": 1, "account": "x"}\n'))
    assert "not a Parquet file" in refusal(write("fake.parquet", "did\nx\n"))
    assert "has no columns" in refusal(write("plain.txt", A), "did")
    assert "account, name" in refusal(write("two.csv", "account,name\nx,y\n"))
    assert "has no column nope" in refusal(write("named.csv", "did\nx\n"), "nope")


def write_raw(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


@pytest.mark.parametrize("name", ["empty.txt", "comment.txt", "header.csv", "empty.csv", "blank.txt.gz"])
def test_a_source_without_accounts_is_a_mistake(write: Write, name: str) -> None:
    content = {"comment.txt": "# nobody\n\n", "header.csv": "did\n\n", "blank.txt.gz": "\n\n"}.get(name, "")
    told = refusal(write(name, content))
    assert "holds no accounts" in told or "has no column did or handle" in told


def test_databases_that_are_none(tmp_path: Path, write: Write) -> None:
    for path, told in (
        (write("fake.db", "x" * 4096), "not a SQLite database"),
        (write("empty.db", ""), "no such table: dids"),
        (str(tmp_path / "none.db"), "does not exist"),
    ):
        with pytest.raises(SourceError, match=told):
            ask(path, "SELECT did FROM dids")
    assert not (tmp_path / "none.db").exists()


def test_a_broken_line_of_json_is_an_entry_that_somebody_will_refuse(write: Write) -> None:
    path = write("broken.jsonl", f'{{"did": "{A}"}}\n{{"did": "{B}\n[1]\n7\n{{"did": 8}}\n')
    assert entries(path) == [A, f'{{"did": "{B}', "[1]", "7", "8"]


def test_a_format_that_is_said_goes_before_the_name(write: Write) -> None:
    path = write("accounts.data", f'{{"did": "{A}"}}\n')
    assert listed(FileSource(type="file", path=path, format="jsonl")) == [A]
    path = write("accounts.txt", f"n,did\n1,{A}\n")
    assert listed(FileSource(type="file", path=path, format="csv")) == [A]
