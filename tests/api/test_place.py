"""Where the API listens, the note about it, and the first token of a deployment."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.place import FILE, listening, noted, noted_url, url_of
from local.first_token import first_token
from messaging.token_book import TokenBook
from schemas.errors import ConfigError
from schemas.settings import ApiSettings
from tests.api.server import settings_for


def test_the_note_lies_there_while_the_process_lives(tmp_path: Path) -> None:
    with listening(ApiSettings(port=0)) as place:
        url = url_of(place)
        assert url == f"http://127.0.0.1:{place.getsockname()[1]}"
        assert noted_url(tmp_path) is None
        with noted(tmp_path, url):
            assert noted_url(tmp_path) == url
            with noted(tmp_path, "http://127.0.0.1:1"):  # another process of this folder
                pass
        assert noted_url(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "x"}', '{"url": "x", "pid": 1, "born": 0}'])
def test_a_note_of_a_process_that_is_gone_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert noted_url(tmp_path) is None


def test_a_port_that_is_taken_is_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} .*SKYFILL_API__PORT"):
            listening(ApiSettings(port=port))
    with pytest.raises(ConfigError, match="SKYFILL_API__HOST"):
        listening(ApiSettings(host="192.0.2.1", port=0))


def test_a_first_token_is_made_once_and_does_not_come_back(kafka: str, tmp_path: Path, prefix: str) -> None:
    settings = settings_for(kafka, tmp_path, prefix=prefix)
    now = datetime.now(UTC)
    file = first_token(settings)
    text = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert first_token(settings).read_text() == text
    book = TokenBook(settings.kafka)
    try:
        token = book.find(text.strip(), now)
        assert token is not None
        assert token.role == "admin"
        book.put(token.model_copy(update={"revoked_at": now}))
        assert first_token(settings).read_text() == text
        book.refresh()
        assert len(book.all()) == 1
        # Another broker's token is of no use here.
        file.write_text("skf_0123456789_" + "A" * 43)
        assert first_token(settings).read_text() != text
        book.refresh()
        assert len(book.all()) == 2
    finally:
        book.close()
