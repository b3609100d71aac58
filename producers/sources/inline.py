"""Accounts written into the document itself."""

from __future__ import annotations

from collections.abc import Iterator

from producers.sources.base import AccountSource
from schemas.backfill import InlineSource


class InlineAccounts(AccountSource):
    """The document's own list, in its order."""

    def __init__(self, source: InlineSource) -> None:
        self._dids = source.dids

    @property
    def name(self) -> str:
        return "source.dids"

    def _entries(self) -> Iterator[str]:
        return (entry for text in self._dids if (entry := text.strip()))
