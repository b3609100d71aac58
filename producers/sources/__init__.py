"""Where accounts come from: one file a source. A new source is a file here and a line in `open_source`."""

from __future__ import annotations

from typing import assert_never

from producers.sources.base import AccountSource
from producers.sources.file import FileAccounts
from producers.sources.inline import InlineAccounts
from producers.sources.sqlite import SqliteAccounts
from schemas.backfill import FileSource, InlineSource, Source, SqliteSource

__all__ = ["AccountSource", "open_source"]


def open_source(source: Source) -> AccountSource:
    """The source that a document names. Nothing is opened before its entries are asked for."""
    if isinstance(source, InlineSource):
        return InlineAccounts(source)
    if isinstance(source, FileSource):
        return FileAccounts(source)
    if isinstance(source, SqliteSource):
        return SqliteAccounts(source)
    assert_never(source)
