"""The first admin token of a deployment on one machine: somebody has to be let in to make all others.

What may never break: only the data folder's owner can read it, and what was revoked does not come back.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from messaging.token_book import TokenBook, new_token, token_id_of
from schemas.errors import ConfigError
from schemas.settings import Settings

FILE = "api-token"


def first_token(settings: Settings) -> Path:
    """The file with an admin token, which is made unless the one in the file is known to the deployment.

    One that is known stays in its file also where it was revoked: then another admin's is to be used. Raises
    ConfigError where the file can't be written, DeploymentError where the broker refuses the token.
    """
    file = settings.data_dir / FILE
    try:
        kept = token_id_of(file.read_text().strip())
    except OSError:
        kept = None
    book = TokenBook(settings.kafka)
    try:
        if kept is not None and any(token.id == kept for token in book.all()):
            return file
        text, token = new_token("made by skyfill up", "admin", datetime.now(UTC))
        book.put(token)
    finally:
        book.close()
    try:
        _write(file, text)
    except OSError as error:
        raise ConfigError(f"{file} can't be written: {error.strerror}; see to the data folder") from error
    return file


def _write(file: Path, text: str) -> None:
    """Whole or not at all, and never readable for others, not even for a moment."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text + "\n")
    draft.replace(file)
