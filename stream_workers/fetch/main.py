"""The fetch worker as a process."""

from __future__ import annotations

import asyncio
import signal

import uvloop

from atp.identity import Resolver
from atp.xrpc import Client
from messaging.crash import end_with
from messaging.exposition import expose
from messaging.instruments import ResolverMetrics
from messaging.metrics import new_registry
from schemas.settings import Settings
from stream_workers.fetch.metrics import FetchMetrics
from stream_workers.fetch.worker import FetchWorker


def run_fetch_worker(settings: Settings) -> None:
    """Works until SIGTERM or SIGINT. Ends the process itself, with a reason logged, where it can't go on."""
    uvloop.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    network, registry = settings.network, new_registry()
    metrics = FetchMetrics(registry)
    async with Client(
        user_agent=network.user_agent,
        allow_private_hosts=network.allow_private_hosts,
        observer=metrics.http,
        timeout=settings.worker.silence_seconds,
        connect_timeout=settings.worker.connect_seconds,
    ) as client:
        resolver = Resolver(
            client,
            plc_url=network.plc_url,
            handle_host=network.handle_url,
            concurrency=network.plc_concurrency,
            observer=ResolverMetrics(registry),
        )
        try:
            with expose(settings, f"worker-{settings.worker_slot or 0}", registry):
                await FetchWorker(settings, client, resolver, metrics).run(stop)
        except Exception as error:
            end_with(error)
