"""The application: all endpoints, the errors, and the parts that live as long as the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from api import problems
from api.audit import Audit
from api.boards import Boards
from api.dashboard.dashboard import Dashboard
from api.dashboard.pages import PAGES
from api.documents import folders_of
from api.envelope import Envelope
from api.lag import LagLook
from api.letters import Letters
from api.limits import RequestLimits
from api.metrics import ApiMetrics
from api.openapi import TITLE, described_by
from api.routes import (
    audit,
    commands,
    configs,
    docs,
    events,
    health,
    jobs,
    letters,
    performance,
    rates,
    reports,
    starting,
    tokens,
)
from api.services import DOCUMENTS_AT_ONCE, PLANS_AT_ONCE, SCANS_AT_ONCE, Services
from api.streams import Streams
from api.webjars import WebJar
from messaging.publisher import Publisher
from schemas.settings import Settings

_PLAN_SECONDS = 10.0
ROUTERS = (
    starting.router,
    jobs.router,
    commands.router,
    letters.router,
    events.router,
    reports.router,
    rates.router,
    configs.router,
    performance.router,
    tokens.router,
    audit.router,
    health.router,
    docs.router,
    *PAGES,
)


def create_app(
    settings: Settings,
    *,
    metrics: ApiMetrics | None = None,
    limits: RequestLimits | None = None,
    plan_seconds: float = _PLAN_SECONDS,
) -> FastAPI:
    """The application, which connects to Kafka when its lifespan begins.

    `limits`: other budgets than those of the settings; `plan_seconds`: how long a dry run may take.
    """
    counted = metrics or ApiMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        dashboard = app.state.dashboard = Dashboard(settings.kafka)
        async with services_for(settings, limits, plan_seconds, dashboard) as services:
            app.state.services = services
            counted.watch_streams(lambda: services.streams.count)
            try:
                yield
            finally:
                services.streams.end()

    app = FastAPI(title=TITLE, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Envelope, metrics=counted)
    app.openapi = lambda: described_by(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def services_for(
    settings: Settings, limits: RequestLimits | None, plan_seconds: float, dashboard: Dashboard
) -> AsyncIterator[Services]:
    """What requests are answered with, as long as the block lasts. Raises DeploymentError, TopicMismatch."""
    async with AsyncExitStack() as parts:
        boards = Boards(settings.kafka)
        parts.push_async_callback(boards.stop)
        await boards.start()
        publisher = Publisher(settings.kafka)
        parts.push_async_callback(publisher.close)
        audit = Audit(settings, publisher)
        parts.push_async_callback(audit.close)
        letters = Letters(settings.kafka)
        parts.push_async_callback(letters.close)
        lag = LagLook(settings.kafka, told=dashboard.trail.add)
        parts.push_async_callback(lag.stop)
        lag.start()
        await dashboard.start()
        parts.push_async_callback(dashboard.stop)
        yield Services(
            settings=settings,
            folders=folders_of(settings.api.folders),
            boards=boards,
            publisher=publisher,
            audit=audit,
            limits=limits or RequestLimits(settings.api.requests_per_minute),
            lag=lag,
            letters=letters,
            streams=Streams(),
            plan_seconds=plan_seconds,
            plans=asyncio.Semaphore(PLANS_AT_ONCE),
            documents=asyncio.Semaphore(DOCUMENTS_AT_ONCE),
            scans=asyncio.Semaphore(SCANS_AT_ONCE),
            docs=WebJar("api-docs", docs.FOLDER, docs.FILES),
            configs_changing=asyncio.Lock(),
        )
