"""Lists of accounts in files, wherever they lie: text with one a line, CSV with a header, JSONL, Parquet.

Memory stays bounded whatever a file holds: text is read by lines of bounded length, Parquet by batches. A row
that has no account is given as None, so that it can be counted.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from atp.syntax import is_did, is_handle
from schemas.errors import SourceError
from schemas.sources import ListFormat

LONGEST_LINE = 64 * 1024
"""Characters; a longer line is no list of accounts."""
_BATCH_ROWS = 8192
_PACKED = {".gz": "gzip", ".zst": "zstd"}
_FORMATS: dict[str, ListFormat] = {
    "": "txt",
    ".txt": "txt",
    ".list": "txt",
    ".lst": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_USUAL_COLUMNS = ("did", "handle")


class Form(NamedTuple):
    """What a file holds, and how it is packed: gzip, zstd or not."""

    format: ListFormat
    packed: str | None


def form_of(path: str, name: str, format: ListFormat | None) -> Form:
    """A file's form by its path, which `format` overrides. SourceError, calling it `name`, if unknown."""
    bare = PurePosixPath(path)
    packed = _PACKED.get(bare.suffix.lower())
    suffix = (PurePosixPath(bare.stem) if packed else bare).suffix.lower()
    found = format or _FORMATS.get(suffix)
    if found is None or (found == "parquet" and packed):
        raise SourceError(
            f"{name}: its name does not tell what it is; accounts are read from .txt, .csv, .tsv and .jsonl "
            f"files (each may end in .gz or .zst) and from .parquet files; else set source.format"
        )
    return Form(found, packed)


def read_accounts(
    file: IO[bytes], form: Form, name: str, column: str | None
) -> Generator[str | None, None, None]:
    """Entries in their order. Blank lines, and lines of text that begin with `#`, are no rows.

    `file` has to be seekable for Parquet. Raises SourceError, which calls it `name`, for what is not of its
    form, and lets SourceErrors of `file` itself pass.
    """
    with errors_named(name, form):
        if form.format == "parquet":
            yield from _from_parquet(file, name, column)
            return
        with _text(file, form.packed) as lines:
            bounded = _bounded(lines, name)
            if form.format == "txt":
                yield from _from_text(bounded, name, column)
            elif form.format == "jsonl":
                yield from _from_jsonl(bounded, name, column)
            else:
                yield from _from_csv(bounded, name, column)


@contextmanager
def errors_named(name: str, form: Form) -> Iterator[None]:
    """Turns what reading may raise into a SourceError that says what is wrong with the file `name`."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise SourceError(f"{name} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise SourceError(f"{name} is not valid CSV: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{name} is not a whole gzip file: {error}; copy it again") from error
    except pa.ArrowException as error:
        raise SourceError(f"{name} is not a Parquet file that can be read: {error}") from error
    except OSError as error:
        if error.errno is None and form.packed == "zstd":
            raise SourceError(f"{name} is not a whole zstd file: {error}; copy it again") from error
        if error.errno is None and form.format == "parquet":
            raise SourceError(f"{name} is not a Parquet file that can be read: {error}") from error
        raise SourceError(f"{name} can't be read: {error.strerror or error}") from error


def _from_text(lines: Iterator[str], name: str, column: str | None) -> Iterator[str]:
    if column is not None:
        raise SourceError(f"{name} is a text file and has no columns; remove source.column")
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise SourceError(f"{name}: line {number} holds a NUL byte: it is no text file")
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield entry


def _from_csv(lines: Iterator[str], name: str, column: str | None) -> Iterator[str | None]:
    first = next(lines, "")
    delimiter = max(",;\t", key=first.count)
    header = next(csv.reader([first], delimiter=delimiter), [])
    if column is None and len(header) == 1 and _is_account(header[0].strip()):
        yield header[0].strip()  # no header: a list of accounts that is only called CSV
        chosen = 0
    else:
        chosen = _choose([cell.strip() for cell in header], name, column)
    for row in csv.reader(lines, delimiter=delimiter):
        if row:
            yield (row[chosen].strip() or None) if len(row) > chosen else None


def _from_jsonl(lines: Iterator[str], name: str, column: str | None) -> Iterator[str | None]:
    key: str | None = None
    for line in lines:
        text = line.strip()
        if not text:
            continue
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            yield text  # no account, as whoever judges entries will find and say
            continue
        if isinstance(value, dict):
            if key is None:
                keys = list(value)
                key = keys[_choose(keys, name, column)]
            value = value.get(key)
        yield _json_entry(value)


def _json_entry(value: Any) -> str | None:
    if value is None:
        return None
    return (value if isinstance(value, str) else orjson.dumps(value).decode()).strip() or None


def _from_parquet(file: IO[bytes], name: str, column: str | None) -> Iterator[str | None]:
    with pq.ParquetFile(file) as table:
        schema = table.schema_arrow
        chosen = schema.names[_choose(schema.names, name, column)]
        kind = schema.field(chosen).type
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(value) or pa.types.is_large_string(value)):
            raise SourceError(f"{name}: column {chosen} holds {kind}, not text; name another one")
        for batch in table.iter_batches(_BATCH_ROWS, columns=[chosen]):
            for text in batch.column(0).to_pylist():
                yield (text.strip() or None) if text is not None else None


def _choose(columns: Sequence[str], name: str, column: str | None) -> int:
    folded = [found.casefold() for found in columns]
    wanted = _USUAL_COLUMNS if column is None else (column,)
    for one in wanted:
        if one in columns:
            return columns.index(one)
        if one.casefold() in folded:
            return folded.index(one.casefold())
    if column is None and len(columns) == 1:
        return 0
    listed = ", ".join(columns) or "none"
    raise SourceError(
        f"{name} has no column {' or '.join(wanted)}; set source.column to one of those it has: "
        f"{listed[:1000]}"
    )


def _text(file: IO[bytes], packed: str | None) -> io.TextIOWrapper:
    """Text in UTF-8, with or without byte order mark, any line ends."""
    if packed == "gzip":
        unpacked: Any = gzip.GzipFile(fileobj=file)
    elif packed == "zstd":
        unpacked = io.BufferedReader(cast(Any, pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")))
    else:
        unpacked = file
    return io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline=None)


def _bounded(lines: io.TextIOWrapper, name: str) -> Iterator[str]:
    number = 0
    while line := lines.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith("\n"):
            raise SourceError(f"{name}: line {number} is longer than {LONGEST_LINE} characters: not a list")
        yield line


def _is_account(text: str) -> bool:
    return is_did(text) or is_handle(text)
