"""Accounts written into the document itself."""

from __future__ import annotations

from collections.abc import Generator

from producers.sources.listed import LIST_PAGE, ListedAccounts
from schemas.sources import HandlesSource, InlineSource


class InlineAccounts(ListedAccounts):
    """The document's own list, of DIDs and handles or of handles alone, in its order."""

    def __init__(self, source: InlineSource | HandlesSource, page_entries: int = LIST_PAGE) -> None:
        super().__init__(page_entries)
        self._texts = source.dids if isinstance(source, InlineSource) else source.handles
        self._name = "source.dids" if isinstance(source, InlineSource) else "source.handles"

    @property
    def name(self) -> str:
        return self._name

    def _entries(self) -> Generator[str | None, None, None]:
        for text in self._texts:
            yield text.strip() or None
