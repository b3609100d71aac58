"""Who did what: an entry in topic `audit` and a line in a file for all that changes something or is refused.

What may never break: nothing is changed of which there is no entry. So the entry comes first; what could not
be done after all has a second one. No entry holds a secret or a body.
"""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import os
from collections.abc import Callable
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import Request

from messaging.names import Names
from messaging.publisher import Publisher
from schemas.audit import AuditEntry
from schemas.errors import DeploymentError
from schemas.settings import Settings

if TYPE_CHECKING:
    from api.auth import Caller

FILE = "audit.jsonl"
_FILE_BYTES = 10 * 2**20
_FILES = 5
_MOST_WAITING = 1000
"""Entries about refused requests that wait for Kafka; beyond, the file alone has them."""
_LONGEST = 300
_log = logging.getLogger("skyfill.audit")


class Audit:
    """Life: made in the event loop, `before` and `after` requests, `close`."""

    def __init__(
        self,
        settings: Settings,
        publisher: Publisher,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """The file is `audit.jsonl` in the data folder, for its owner alone, ten megabytes five times."""
        self._topic = Names(settings.kafka.topic_prefix).audit
        self._publisher, self._clock = publisher, clock
        self._file = _PrivateFile(settings.data_dir / FILE)
        self._waiting: set[asyncio.Task[None]] = set()

    async def before(self, request: Request, status: int, *, subject: str | None, detail: str | None) -> None:
        """An entry about what is going to be done and answered with `status`.

        Raises DeploymentError where Kafka does not take it: then nothing may be done.
        """
        entry = self._entry(request, status, subject, detail)
        await self._publish(entry)
        self._file.write(entry)
        request.state.audited = status

    def after(self, request: Request, status: int, detail: str | None) -> None:
        """An entry about what was answered, unless `before` has said just that. Waits for nothing."""
        if getattr(request.state, "audited", None) == status:
            return
        entry = self._entry(request, status, getattr(request.state, "subject", None), detail)
        self._file.write(entry)
        if len(self._waiting) < _MOST_WAITING:
            publishing = asyncio.create_task(self._try(entry))
            self._waiting.add(publishing)
            publishing.add_done_callback(self._waiting.discard)

    async def close(self) -> None:
        """Waits for what is under way."""
        if self._waiting:
            await asyncio.wait(self._waiting)
        self._file.close()

    async def _try(self, entry: AuditEntry) -> None:
        try:
            await self._publish(entry)
        except DeploymentError as error:
            _log.warning("request %s is in the audit's file alone: %s", entry.request_id, error)

    async def _publish(self, entry: AuditEntry) -> None:
        await self._publisher.publish(self._topic, entry.token or "", entry.encode(), 1)

    def _entry(self, request: Request, status: int, subject: str | None, detail: str | None) -> AuditEntry:
        caller: Caller | None = getattr(request.state, "caller", None)
        route = request.scope.get("route")
        return AuditEntry(
            at=self._clock(),
            token=caller.token.id if caller else None,
            name=caller.token.name if caller else None,
            role=caller.token.role if caller else None,
            method=request.method[:20],
            path=_short(request.url.path),
            what=getattr(route, "name", None) or "unknown",
            subject=subject and _short(subject),
            address=client_address(request),
            status=status,
            detail=detail and _short(detail),
            request_id=request.state.request_id,
        )


def client_address(request: Request) -> str:
    """Where a request came from, as far as the settings' proxies are to be believed."""
    return request.client.host if request.client else "unknown"


def _short(text: str) -> str:
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= _LONGEST else clean[: _LONGEST - 1] + "…"


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """Lines of JSON in a file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, maxBytes=_FILE_BYTES, backupCount=_FILES, encoding="utf-8", delay=True)

    def _open(self) -> TextIOWrapper:
        return open(
            self.baseFilename, "a", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)
        )

    def write(self, entry: AuditEntry) -> None:
        """A line. A disk that is full is told in the log, and stops nothing: the topic has the entry."""
        self.emit(logging.makeLogRecord({"msg": entry.encode().decode(), "levelno": logging.INFO}))

    def handleError(self, record: logging.LogRecord) -> None:
        """What logging calls when a line can't be written."""
        _log.error("the audit's file can't be written", exc_info=True)
