"""`skyfill up`: a deployment on this machine that stays, for jobs to be submitted to."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Annotated

import typer

from cli.connect import announce
from cli.console import configure_logging, data_settings, out
from cli.run import DEFAULT_WORKERS, Data, Workers
from local.deployment import Deployment
from messaging.names import SINK_KINDS, SinkKind


def up(
    workers: Workers = DEFAULT_WORKERS,
    data: Data = None,
    local_dynamodb: Annotated[
        bool, typer.Option("--local-dynamodb/--aws", help="Embed DynamoDB Local, or write to AWS.")
    ] = True,
) -> None:
    """Start everything and stay until Ctrl-C: broker, DynamoDB Local, producer, workers, tracker, sinks."""
    settings = data_settings(data)
    configure_logging(settings)
    kinds: tuple[SinkKind, ...] = SINK_KINDS
    deployment = Deployment(
        settings, workers=workers, sinks=kinds, local_dynamodb="disk" if local_dynamodb else None
    )
    asyncio.run(_stay(deployment))


async def _stay(deployment: Deployment) -> None:
    staying = asyncio.create_task(_serve(deployment))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, staying.cancel)
    try:
        await staying
    except asyncio.CancelledError:
        out.print("stopped")


async def _serve(deployment: Deployment) -> None:
    note = None
    try:
        settings = await deployment.start_servers()
        deployment.start_processes()
        note = announce(settings, os.getpid())
        out.print(f"Kafka: {settings.kafka.bootstrap_servers}", markup=False)
        if settings.dynamodb.endpoint_url:
            out.print(f"DynamoDB: {settings.dynamodb.endpoint_url}", markup=False)
        out.print(f"logs: {deployment.logs}", markup=False)
        out.print("Submit a job with `skyfill start CONFIG`; Ctrl-C stops everything.")
        await deployment.watch()
    finally:
        if note is not None:
            note.unlink(missing_ok=True)
        await deployment.stop()
