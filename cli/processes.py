"""`skyfill producer`, `worker`, `tracker`, `sink`, `rates`, `notifier`, `lag-exporter`, `api`, `network`.

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
from local.announcement import announced
from local.slots import held_slot
from messaging.crash import end_with
from schemas.errors import ConfigError
from schemas.settings import Settings

sink = typer.Typer(no_args_is_help=True, help="Store records: one command for each kind of store.")

Slot = Annotated[
    int | None,
    typer.Option(
        min=0,
        show_default="the first that is free in the data folder",
        help="Which of its kind this process is, from 0; two with one slot end each other.",
    ),
]


def producer() -> None:
    """Turn job commands into tasks: resolve accounts, interleave hosts, publish. One is active at a time."""
    from producers.run import run_planner

    settings = _begin()
    _to_the_end(lambda: run_planner(settings, stop_on_signals()))


def worker(slot: Slot = None) -> None:
    """Fetch, verify and publish repositories. Start as many as there is work for, each with its own slot."""
    from stream_workers.fetch.main import run_fetch_worker

    settings = _begin(slot)
    with held_slot(settings.data_dir, "worker", settings.worker_slot) as own:
        run_fetch_worker(settings.model_copy(update={"worker_slot": own}))


def tracker(slot: Slot = None) -> None:
    """Count outcomes exactly and publish every job's status."""
    from stream_workers.tracker.main import run_tracker

    settings = _begin(slot)
    with held_slot(settings.data_dir, "tracker", settings.worker_slot) as own:
        run_tracker(settings.model_copy(update={"worker_slot": own}), stop_on_signals())


def notifier(slot: Slot = None) -> None:
    """Tell webhooks of jobs that ended or stand still, and log alerts. Several share the jobs."""
    from stream_workers.notifier.main import run_notifier

    settings = _begin(slot)
    with held_slot(settings.data_dir, "notifier", settings.worker_slot) as own:
        run_notifier(settings.model_copy(update={"worker_slot": own}), stop_on_signals())


def lag_exporter(
    every: Annotated[float, typer.Option(min=0.5, max=300, help="Seconds between two looks.")] = 5.0,
) -> None:
    """Serve the figures of `skyfill lag` to Prometheus, on a metrics port like the other processes'."""
    from messaging.lag_exporter import run_lag_exporter

    settings = _begin()
    _to_the_end(lambda: run_lag_exporter(settings, stop_on_signals(), every))


def rates() -> None:
    """Publish how fast each job goes, by host and record type, to `rates` and on a port of this machine."""
    from stream_workers.rates.main import run_rates

    run_rates(_begin())


def api() -> None:
    """Serve the API and the dashboard: start, watch and turn jobs without touching Kafka."""
    from api.main import run_api

    run_api(_begin(), stop_on_signals())


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
    """The settings; without a broker in them, that of the deployment that runs in the data folder."""
    settings = load_settings(worker_slot=slot)
    if not settings.kafka.bootstrap_servers:
        settings = announced(settings) or settings
    log_to_stderr(settings)
    return settings


def _to_the_end(work: Callable[[], None]) -> None:
    """An error's exit code tells a supervisor whether to start the process again: see messaging.crash."""
    try:
        work()
    except Exception as error:
        end_with(error)
