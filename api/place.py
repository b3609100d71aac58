"""Where the API listens, and the note in the data folder that tells others of this machine."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from schemas.errors import ConfigError
from schemas.settings import ApiSettings

FILE = "api.json"
_BACKLOG = 128
_ANYWHERE = {"", "0.0.0.0", "::"}


def listening(settings: ApiSettings) -> socket.socket:
    """A socket that listens where the settings say. ConfigError where that can't be."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"the API can't listen at {settings.host}, port {settings.port} ({error.strerror or error}); set "
            f"SKYFILL_API__HOST or SKYFILL_API__PORT"
        ) from error


def url_of(place: socket.socket) -> str:
    """The URL of what listens there, for a browser of this machine."""
    host, port = place.getsockname()[:2]
    shown = "127.0.0.1" if host in _ANYWHERE else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


@contextmanager
def noted(data_dir: Path, url: str) -> Iterator[None]:
    """The note lies in the data folder while the block runs; after a kill, until the next one is written."""
    file = data_dir / FILE
    said = json.dumps({"url": url, "pid": os.getpid(), "born": psutil.Process().create_time()})
    draft = file.with_name(f"{FILE}.{os.getpid()}")
    data_dir.mkdir(parents=True, exist_ok=True)
    draft.write_text(said)
    draft.replace(file)
    try:
        yield
    finally:
        with suppress(OSError):
            if file.read_text() == said:
                file.unlink()


def noted_url(data_dir: Path) -> str | None:
    """Where the API of this data folder listens; None while none runs."""
    try:
        said: dict[str, Any] = json.loads((data_dir / FILE).read_text())
        alive = psutil.Process(said["pid"]).create_time() == said["born"]
    except (OSError, ValueError, KeyError, psutil.Error):
        return None
    return str(said["url"]) if alive else None
