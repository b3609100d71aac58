"""`skyfill up`: a deployment on this machine that stays, for jobs to be submitted to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.table import Table

from cli.console import canvas, out, table
from cli.logs import warn_on_stderr
from cli.run import DEFAULT_WORKERS, Workers
from cli.settings import Data, data_settings
from cli.signals import run_until_signal
from messaging.names import SINK_KINDS

if TYPE_CHECKING:
    from local.deployment import Deployment


def up(
    workers: Workers = DEFAULT_WORKERS,
    data: Data = None,
    local_dynamodb: Annotated[
        bool, typer.Option("--local-dynamodb/--aws", help="Embed DynamoDB Local, or write to AWS.")
    ] = True,
) -> None:
    """Start everything and stay until Ctrl-C: servers, producer, workers, tracker, sinks, instruments.

    A process that ends is started again, whatever the reason; the reason is told here.
    """
    from local.deployment import Deployment  # it brings boto3 along

    settings = data_settings(data)
    warn_on_stderr(settings)
    deployment = Deployment(
        settings,
        workers=workers,
        sinks=SINK_KINDS,
        local_dynamodb="disk" if local_dynamodb else None,
        instruments=True,
        gives_up=False,
        report=out.print,
    )
    run_until_signal(_serve(deployment), "stopped", code=0)


async def _serve(deployment: Deployment) -> None:
    try:
        settings = await deployment.start_servers()
        deployment.start_processes()
        out.print(f"Kafka: {settings.kafka.bootstrap_servers}")
        if settings.dynamodb.endpoint_url:
            out.print(f"DynamoDB: {settings.dynamodb.endpoint_url}")
        out.print(f"logs: {deployment.logs.absolute()}")
        out.print("Submit a job with `skyfill start CONFIG`; Ctrl-C stops everything.")
        showing = asyncio.create_task(_show(deployment)) if canvas.is_terminal else None
        try:
            await deployment.watch()
        finally:
            if showing:
                showing.cancel()
                await asyncio.wait([showing])
    finally:
        await deployment.stop()


async def _show(deployment: Deployment) -> None:
    """The processes, drawn in place once a second."""
    with Live(console=canvas, auto_refresh=False, transient=True) as live:
        while True:
            live.update(_processes(deployment), refresh=True)
            await asyncio.sleep(1)


def _processes(deployment: Deployment) -> Table:
    made = table("process", "state", "pid", "restarts")
    for one in deployment.supervisor.running if deployment.supervisor else []:
        state = "runs" if one.process.running else "ended, will be started again"
        made.add_row(one.role.name, state, str(one.process.pid), str(one.restarts))
    return made
