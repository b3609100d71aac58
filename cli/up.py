"""`skyfill up`: a deployment on this machine that stays, for jobs to be submitted to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.table import Table

from api.place import noted_url
from cli.console import canvas, err, out, table
from cli.logs import warn_on_stderr
from cli.run import DEFAULT_WORKERS, Workers
from cli.settings import Data, data_settings
from cli.signals import run_until_signal
from local.first_token import first_token
from messaging.names import SINK_KINDS
from schemas.errors import SkyfillError
from schemas.settings import Settings

if TYPE_CHECKING:
    from local.deployment import Deployment

_LOOK_SECONDS = 0.3
_TELL_SECONDS = 20.0


def up(
    workers: Workers = DEFAULT_WORKERS,
    data: Data = None,
    local_dynamodb: Annotated[
        bool, typer.Option("--local-dynamodb/--aws", help="Embed DynamoDB Local, or write to AWS.")
    ] = True,
) -> None:
    """Start everything and stay until Ctrl-C: servers, producer, workers, tracker, sinks, instruments,
    API and dashboard.

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
        telling = asyncio.create_task(_tell_dashboard(settings))
        beside = asyncio.create_task(_show(deployment, telling)) if canvas.is_terminal else telling
        try:
            await deployment.watch()
        finally:
            telling.cancel()
            beside.cancel()
            await asyncio.wait([telling, beside])
    finally:
        await deployment.stop()


async def _tell_dashboard(settings: Settings) -> None:
    """Where the dashboard is, as soon as it is there, and how to get in."""
    try:
        token = await asyncio.to_thread(first_token, settings)
    except SkyfillError as error:
        err.print(f"no admin token: {error}")
        return
    while (url := noted_url(settings.data_dir)) is None:  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(_LOOK_SECONDS)
    for line in ways_in(url, token, shown=out.file.isatty()):
        out.print(line)


def ways_in(url: str, token: Path, *, shown: bool) -> list[str]:
    """What to tell of the dashboard at `url`; only where it is `shown` to a person, with a link that logs in.

    The link holds the token, which has no business in a log.
    """
    address = f"{url}/login#{token.read_text().strip()}" if shown else url
    return [f"dashboard: {address}", f"the first admin token: {token.absolute()}"]


async def _show(deployment: Deployment, first: asyncio.Task[None]) -> None:
    """The processes, drawn in place once a second; once `first` has told all it has to, or can't for
    long: what is told meanwhile would run into the drawing."""
    await asyncio.wait([first], timeout=_TELL_SECONDS)
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
