"""`skyfill producer`, `worker`, `tracker`, `rates`, `sink`, `network`: each process by itself.

Each loads its own code only, so that six of them start quickly beside each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.logs import log_to_stderr
from cli.settings import load_settings
from cli.signals import stop_on_signals
from messaging.crash import end_with
from schemas.errors import ConfigError
from schemas.settings import Settings

sink = typer.Typer(no_args_is_help=True, help="Store records: one command for each kind of store.")

Slot = Annotated[
    int | None,
    typer.Option(min=0, help="Which of its kind this process is, from 0; two with one slot end each other."),
]


def producer() -> None:
    """Turn job commands into tasks: resolve accounts, interleave hosts, publish. One is active at a time."""
    from producers.run import run_planner

    settings = _begin()
    _to_the_end(lambda: run_planner(settings, stop_on_signals()))


def worker(slot: Slot = None) -> None:
    """Fetch, verify and publish repositories. Start as many as there is work for, each with its own slot."""
    from stream_workers.fetch.main import run_fetch_worker

    run_fetch_worker(_begin(slot))


def tracker(slot: Slot = None) -> None:
    """Count outcomes exactly and publish every job's status."""
    from stream_workers.tracker.main import run_tracker

    run_tracker(_begin(slot), stop_on_signals())


def rates() -> None:
    """Publish how fast each job goes, by host and record type, to `rates` and on a port of this machine."""
    from stream_workers.rates.main import run_rates

    run_rates(_begin())


@sink.command("parquet")
def sink_parquet(slot: Slot = None) -> None:
    """Write records to Parquet files."""
    from sinks.parquet import run_parquet_sink

    settings = _begin(slot)
    _to_the_end(lambda: run_parquet_sink(settings, stop_on_signals()))


@sink.command("dynamodb")
def sink_dynamodb(
    slot: Slot = None,
    create_tables: Annotated[
        bool, typer.Option("--create-tables", help="Make missing tables; meant for DynamoDB Local.")
    ] = False,
) -> None:
    """Write records to DynamoDB tables."""
    from sinks.dynamodb import run_dynamodb_sink

    settings = _begin(slot)
    _to_the_end(lambda: run_dynamodb_sink(settings, stop_on_signals(), create_tables=create_tables))


def network(
    ready: Annotated[Path, typer.Option(help="The JSON file that tells where everything listens.")],
    accounts: Annotated[int, typer.Option(min=4, help="Accounts.")] = 100,
    hosts: Annotated[int, typer.Option(min=2, help="PDSs.")] = 4,
    records: Annotated[int, typer.Option(min=1, help="Records of an account, in the mean.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed makes the same network.")] = 1,
    faults: Annotated[bool, typer.Option(help="With the demo's faults.")] = True,
) -> None:
    """Serve a simulated AT Protocol network on loopback: PLC, PDSs and relay with signed repositories."""
    from local.network.main import serve
    from local.network.network import Network

    log_to_stderr(load_settings())
    if not ready.parent.is_dir():
        raise ConfigError(f"{ready.parent} is no folder; make it, or name another file with --ready")
    make = Network.demo if faults else Network
    simulated = make(seed=seed, accounts=accounts, hosts=hosts, records=records)
    asyncio.run(serve(simulated, ready))


def _begin(slot: int | None = None) -> Settings:
    settings = load_settings(worker_slot=slot)
    log_to_stderr(settings)
    return settings


def _to_the_end(work: Callable[[], None]) -> None:
    """An error's exit code tells a supervisor whether to start the process again: see messaging.crash."""
    try:
        work()
    except Exception as error:
        end_with(error)
