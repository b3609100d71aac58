"""What all commands share: the terminal, the log, the settings, and signals as an event."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from schemas.errors import ConfigError
from schemas.settings import Settings

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

_REPEAT_SECONDS = 10.0


class _OncePerWhile(logging.Filter):
    """librdkafka repeats itself several times a second while a broker is away."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this kind of message was not said just now."""
        kind = record.getMessage()[:16]
        now = time.monotonic()
        if now - self._said.get(kind, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return False
        self._said[kind] = now
        return True


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(settings: Settings) -> None:
    """Log lines on stderr, in the form and from the level that the settings say."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(_JsonLines() if settings.log_format == "json" else text)
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.getLogger("skyfill.kafka").addFilter(_OncePerWhile())
    for noisy in ("botocore", "boto3", "urllib3", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def load_settings(**flags: Any) -> Settings:
    """The settings: defaults < file < environment < flags. ConfigError names each wrong one."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        wrong = [f"setting {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError("\n".join(wrong)) from error


def data_settings(data: Path | None) -> Settings:
    """The settings, with the data folder of a flag."""
    return load_settings(data_dir=data)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
