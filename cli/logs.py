"""Where the log of a command goes: a process's to stderr, that of `run` and `demo` to a file.

The terminal of somebody who waits for a job is no place for a client library's complaints.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from schemas.settings import Settings

_LIBRDKAFKA = "skyfill.kafka"
_REPETITIVE = (_LIBRDKAFKA, "aiokafka")
_REPEAT_SECONDS = 10.0
_KIND_LENGTH = 16


class _OncePerWhile(logging.Filter):
    """Kafka clients repeat themselves many times a second while a broker is away."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this is no Kafka client, or was not said by it just now."""
        if not record.name.startswith(_REPETITIVE):
            return True
        kind = record.getMessage()[:_KIND_LENGTH]
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


def log_to_stderr(settings: Settings) -> None:
    """The log of a process, in the form and from the level that the settings say."""
    _log_to(logging.StreamHandler(), settings)


def warn_on_stderr(settings: Settings) -> None:
    """What matters to somebody who looks on: warnings, but none of the Kafka clients'."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.name != _LIBRDKAFKA)
    _log_to(handler, settings.model_copy(update={"log_level": "WARNING"}))


def log_to_file(settings: Settings, file: Path) -> None:
    """The log of a command whose terminal shows something else. The file is made with the first line."""
    _log_to(logging.FileHandler(file, delay=True), settings)


def log_nothing() -> None:
    """For a command that asks something and ends: what matters comes as an error."""
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)


def _log_to(handler: logging.Handler, settings: Settings) -> None:
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(_JsonLines() if settings.log_format == "json" else text)
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    handler.addFilter(_OncePerWhile())
    for noisy in ("botocore", "boto3", "urllib3", "asyncio", "faust", "mode", "aiokafka"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
