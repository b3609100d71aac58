"""Accounts from a file of this machine, in any of the forms that producers.sources.formats reads."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from producers.sources.formats import errors_named, form_of, read_accounts
from producers.sources.listed import LIST_PAGE, ListedAccounts
from schemas.errors import SourceError
from schemas.sources import FileSource


class FileAccounts(ListedAccounts):
    """Lines or rows in their order."""

    def __init__(self, source: FileSource, page_entries: int = LIST_PAGE) -> None:
        super().__init__(page_entries)
        self._source = source

    @property
    def name(self) -> str:
        return self._source.path

    def _entries(self) -> Generator[str | None, None, None]:
        path = existing_file(self._source.path)
        form = form_of(path.name, self.name, self._source.format)
        with errors_named(self.name, form), path.open("rb") as file:
            yield from read_accounts(file, form, self.name, self._source.column)


def existing_file(path: str) -> Path:
    """The path of a file that can be read again from the beginning. Raises SourceError."""
    found = Path(path).expanduser()
    try:
        if found.is_file():
            return found
        exists = found.exists()
    except (OSError, ValueError) as error:
        raise SourceError(f"{path!r} can't be opened: {error}") from error
    if exists:
        raise SourceError(f"{path} is not a regular file; a plan has to be able to read it again")
    where = "" if found.is_absolute() else f" (looked for in {Path.cwd()})"
    raise SourceError(f"{path} does not exist{where}; correct source.path")
