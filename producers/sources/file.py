"""Accounts from a file: text with one a line, CSV with a header, Parquet. Text and CSV may be gzipped.

Memory stays bounded whatever the file holds: text is read by lines of bounded length, Parquet by batches.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from atp.syntax import is_did, is_handle
from producers.sources.base import AccountSource, existing_file
from schemas.backfill import FileSource
from schemas.errors import SourceError

LONGEST_LINE = 64 * 1024
"""Characters; a longer line is no list of accounts."""
_BATCH_ROWS = 8192
_TEXT = frozenset({"", ".txt", ".list", ".lst"})
_CSV = frozenset({".csv", ".tsv"})
_PARQUET = frozenset({".parquet", ".pq"})
_USUAL_COLUMNS = ("did", "handle")


class FileAccounts(AccountSource):
    """Lines or rows in their order. Blank ones, and lines of text that begin with `#`, are left out."""

    def __init__(self, source: FileSource) -> None:
        self._path = source.path
        self._column = source.column

    @property
    def name(self) -> str:
        return self._path

    def _entries(self) -> Iterator[str]:
        path = existing_file(self._path)
        form = Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
        with self._errors_named():
            if form in _TEXT:
                yield from self._from_text(path)
            elif form in _CSV:
                yield from self._from_csv(path)
            elif form in _PARQUET and path.suffix.lower() != ".gz":
                yield from self._from_parquet(path)
            else:
                raise SourceError(
                    f"{self._path}: its name does not tell what it is; accounts are read from .txt, .csv and "
                    f".tsv files (each may end in .gz) and from .parquet files"
                )

    def _from_text(self, path: Path) -> Iterator[str]:
        if self._column is not None:
            raise SourceError(f"{self._path} is a text file and has no columns; remove source.column")
        with _open_text(path) as lines:
            for number, line in enumerate(_bounded(lines, self._path), 1):
                if "\0" in line:
                    raise SourceError(f"{self._path}: line {number} holds a NUL byte: it is no text file")
                entry = line.strip()
                if entry and not entry.startswith("#"):
                    yield entry

    def _from_csv(self, path: Path) -> Iterator[str]:
        with _open_text(path) as lines:
            bounded = _bounded(lines, self._path)
            first = next(bounded, "")
            delimiter = max(",;\t", key=first.count)
            header = next(csv.reader([first], delimiter=delimiter), [])
            if self._column is None and len(header) == 1 and _is_account(header[0].strip()):
                yield header[0].strip()  # no header: a list of accounts that is only called CSV
                chosen = 0
            else:
                chosen = self._choose([name.strip() for name in header])
            for row in csv.reader(bounded, delimiter=delimiter):
                if len(row) > chosen and (entry := row[chosen].strip()):
                    yield entry

    def _from_parquet(self, path: Path) -> Iterator[str]:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            chosen = schema.names[self._choose(schema.names)]
            kind = schema.field(chosen).type
            value = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not (pa.types.is_string(value) or pa.types.is_large_string(value)):
                raise SourceError(f"{self._path}: column {chosen} holds {kind}, not text; name another one")
            for batch in file.iter_batches(_BATCH_ROWS, columns=[chosen]):
                for text in batch.column(0).to_pylist():
                    if text is not None and (entry := text.strip()):
                        yield entry

    def _choose(self, columns: list[str]) -> int:
        folded = [name.casefold() for name in columns]
        wanted = _USUAL_COLUMNS if self._column is None else (self._column,)
        for name in wanted:
            if name in columns:
                return columns.index(name)
            if name.casefold() in folded:
                return folded.index(name.casefold())
        if self._column is None and len(columns) == 1:
            return 0
        listed = ", ".join(columns) or "none"
        raise SourceError(
            f"{self._path} has no column {' or '.join(wanted)}; set source.column to one of those it has: "
            f"{listed[:1000]}"
        )

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            raise SourceError(f"{self._path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
        except csv.Error as error:
            raise SourceError(f"{self._path} is not valid CSV: {error}") from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SourceError(f"{self._path} is not a whole gzip file: {error}; copy it again") from error
        except pa.ArrowException as error:
            raise SourceError(f"{self._path} is not a Parquet file that can be read: {error}") from error
        except OSError as error:
            raise SourceError(f"{self._path} can't be read: {error.strerror or error}") from error


def _open_text(path: Path) -> TextIO:
    """Text in UTF-8, with or without byte order mark, any line ends."""
    if path.suffix.lower() == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=None))
    return path.open(encoding="utf-8-sig", newline=None)


def _bounded(lines: TextIO, name: str) -> Iterator[str]:
    number = 0
    while line := lines.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith("\n"):
            raise SourceError(f"{name}: line {number} is longer than {LONGEST_LINE} characters: not a list")
        yield line


def _is_account(text: str) -> bool:
    return is_did(text) or is_handle(text)
