"""What requests are answered with. Made once a process, found by every endpoint through its request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fastapi import Request

from api.audit import Audit
from api.boards import Boards
from api.documents import confined
from api.lag import LagLook
from api.letters import Letters
from api.limits import RequestLimits
from api.problems import unavailable
from api.streams import Streams
from api.webjars import WebJar
from messaging.names import Names
from messaging.publisher import Publisher
from schemas.backfill import Backfill
from schemas.errors import DeploymentError
from schemas.jobs import JobMessage
from schemas.settings import Settings
from schemas.tokens import ApiToken

PLANS_AT_ONCE = 2
SCANS_AT_ONCE = 2
DOCUMENTS_AT_ONCE = 2


@dataclass
class Services:
    """Life: made by the application's lifespan, which also ends its parts."""

    settings: Settings
    folders: list[Path]
    """Folders that documents may name, resolved."""
    boards: Boards
    publisher: Publisher
    audit: Audit
    limits: RequestLimits
    lag: LagLook
    letters: Letters
    streams: Streams
    plan_seconds: float
    plans: asyncio.Semaphore
    documents: asyncio.Semaphore
    scans: asyncio.Semaphore
    docs: WebJar
    configs_changing: asyncio.Lock
    """Held from looking at a config's version to having written the next one."""
    clock: Callable[[], float] = time.monotonic
    """In seconds."""

    @property
    def names(self) -> Names:
        """Names on the broker."""
        return self.boards.names

    def confined(self, backfill: Backfill) -> Backfill:
        """See api.documents."""
        secrets, endpoint_url = self.settings.api.secrets, self.settings.s3.endpoint_url
        return confined(backfill, self.folders, endpoint_url=endpoint_url, secrets=secrets)

    def knows(self, token: ApiToken) -> bool:
        """Whether a token is still good, as far as is read now."""
        found = self.boards.tokens.items.get(token.id)
        good = found is not None and found.hash == token.hash and found.revoked_at is None
        return good and (token.expires_at is None or token.expires_at > self.now())

    def now(self) -> datetime:
        """The time, UTC."""
        return datetime.now(UTC)

    async def change(
        self, request: Request, status: int, *, subject: str | None = None, detail: str | None = None
    ) -> None:
        """Puts into the audit what is going to be done and answered with `status`. Problem if it can't be."""
        try:
            await self.audit.before(request, status, subject=subject, detail=detail)
        except DeploymentError as error:
            raise unavailable(error) from error

    async def command(self, job_id: str, command: JobMessage) -> int:
        """Sends a command about a job; its offset. DeploymentError if the broker does not take it."""
        return await self.publisher.publish(self.names.jobs, job_id, command.encode(), 1)


def services_of(request: Request) -> Services:
    """The process's services."""
    found: Services = request.app.state.services
    return found
