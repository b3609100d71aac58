"""Jobs that end, and a receiver of notices about them: a real HTTP server that checks each signature."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook as Verifier

from schemas.job_status import Counts, JobStatus
from tests.atp.hosts import Host, serving

SECRET = "whsec_" + "c2t5ZmlsbC1ub3RpY2VzLXRlc3QtMTIzNA=="
REFERENCE = "${env:NOTICE_SECRET}"
"""What documents say; tests set the variable to SECRET."""


def status_of(job_id: str, status: str = "complete", **changes: Any) -> JobStatus:
    """A job as the tracker tells of it; one that has ended did so just now."""
    now = datetime.now(UTC)
    plain: dict[str, Any] = {
        "job_id": job_id,
        "name": "a-job",
        "status": status,
        "total": 4,
        "plan_finished": True,
        "totals": Counts(completed=3, failed=1, records=30, bytes=900),
        "finished_at": None if status == "processing" else now,
        "updated_at": now,
    }
    return JobStatus.model_validate(plain | changes)


@dataclass
class Told:
    """One notice that came."""

    id: str
    path: str
    body: dict[str, Any]


@dataclass
class Receiver:
    """What came, in order; `answers` says what is answered to a path next, and 200 is after that."""

    host: Host
    answers: dict[str, list[int]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, path: str) -> list[Told]:
        return [told for told in self.told if told.path == path]

    def ids(self) -> Counter[str]:
        return Counter(told.id for told in self.told)

    def hook(self, path: str, **more: Any) -> dict[str, Any]:
        """A document's entry that leads here, with a query that nobody may see."""
        return {"url": f"{self.host.url}{path}?key=canary-query", "secret": REFERENCE, **more}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        Verifier(SECRET).verify(body, dict(request.headers))
        assert request.headers["Content-Type"] == "application/json"
        self.told.append(Told(request.headers["webhook-id"], request.path, json.loads(body)))
        if request.path.startswith("/hangs"):
            await self.ended.wait()
        waiting = self.answers.get(request.path)
        return web.Response(status=waiting.pop(0) if waiting else 200)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on loopback."""
    made: list[Receiver] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        return await made[0].answer(request)

    async with serving(handle) as host:
        made.append(Receiver(host))
        try:
            yield made[0]
        finally:
            made[0].ended.set()


async def until(holds: Callable[[], Any], what: str, seconds: float = 60) -> None:
    """Waits for what the notifier does."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.05)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Ends a task that is to be waited for no longer."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


Waits = Callable[[], Awaitable[None]]
