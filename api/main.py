"""The API as a process: one event loop, one port, a clean end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
import uvloop
from fastapi import FastAPI

from api.app import create_app
from api.metrics import ApiMetrics
from api.place import listening, noted, url_of
from api.services import Services
from messaging.crash import end_with
from messaging.exposition import expose
from messaging.metrics import new_registry
from schemas.settings import Settings

_GRACE_SECONDS = 10
_KEEP_ALIVE_SECONDS = 30
_AT_ONCE = 500
"""Connections; what comes beyond is answered 503 at once."""
_LOOK_SECONDS = 0.1


def run_api(settings: Settings, stop: threading.Event) -> None:
    """Answers until `stop` is set. Ends the process itself, with a reason logged, where it can't go on."""
    registry = new_registry()
    try:
        place = listening(settings.api)
        with expose(settings, f"api-{place.getsockname()[1]}", registry):
            app = create_app(settings, metrics=ApiMetrics(registry))
            uvloop.run(serve(app, settings, place, stop))
    except Exception as error:
        end_with(error)


async def serve(app: FastAPI, settings: Settings, place: socket.socket, stop: threading.Event) -> None:
    """Answers at `place` until `stop` is set: then what is under way ends, within ten seconds.

    Raises what the application can't begin with, or can't go on for: TopicMismatch, DeploymentError.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.api.proxies,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        limit_concurrency=_AT_ONCE,
    )
    # Not uvicorn's own: there an error of the beginning would be a line in the log, and no reason.
    async with app.router.lifespan_context(app):
        services: Services = app.state.services
        server = _Server(config)
        with noted(settings.data_dir, url_of(place)):
            serving = asyncio.create_task(server.serve(sockets=[place]))
            failing = asyncio.create_task(services.boards.fail())
            stopping = asyncio.create_task(_until_set(stop))
            await asyncio.wait([serving, failing, stopping], return_when=asyncio.FIRST_COMPLETED)
            services.streams.end()
            server.should_exit = True
            await serving
        stopping.cancel()
        if failing.done():
            failing.result()
        failing.cancel()


async def _until_set(stop: threading.Event) -> None:
    while not stop.is_set():  # noqa: ASYNC110 - it is set by a signal, outside of the loop
        await asyncio.sleep(_LOOK_SECONDS)


class _Server(uvicorn.Server):
    """Leaves signals to the command, as every process here does."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """What uvicorn would take signals by."""
        yield
