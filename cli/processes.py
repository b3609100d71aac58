"""`skyfill producer`, `worker`, `tracker`, `sink`, `network`: each process of a deployment by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from cli.console import configure_logging, load_settings, stop_on_signals
from local.network.main import serve
from local.network.network import Network
from producers.run import run_planner
from sinks.dynamodb import run_dynamodb_sink
from sinks.parquet import run_parquet_sink
from stream_workers.fetch.main import run_fetch_worker
from stream_workers.tracker.main import run_tracker

sink = typer.Typer(no_args_is_help=True, help="Store records: one command for each kind of store.")

Slot = Annotated[
    int | None,
    typer.Option(help="Which of its kind this process is, from 0; two with one slot end each other."),
]


def producer() -> None:
    """Turn job commands into tasks: resolve accounts, interleave hosts, publish. One is active at a time."""
    settings = load_settings()
    configure_logging(settings)
    run_planner(settings, stop_on_signals())


def worker(slot: Slot = None) -> None:
    """Fetch, verify and publish repositories. Start as many as there is work for, each with its own slot."""
    settings = load_settings(worker_slot=slot)
    configure_logging(settings)
    run_fetch_worker(settings)


def tracker(slot: Slot = None) -> None:
    """Count outcomes exactly and publish every job's status."""
    settings = load_settings(worker_slot=slot)
    configure_logging(settings)
    run_tracker(settings, stop_on_signals())


@sink.command("parquet")
def sink_parquet(slot: Slot = None) -> None:
    """Write records to Parquet files."""
    settings = load_settings(worker_slot=slot)
    configure_logging(settings)
    run_parquet_sink(settings, stop_on_signals())


@sink.command("dynamodb")
def sink_dynamodb(
    slot: Slot = None,
    create_tables: Annotated[
        bool, typer.Option("--create-tables", help="Make missing tables; meant for DynamoDB Local.")
    ] = False,
) -> None:
    """Write records to DynamoDB tables."""
    settings = load_settings(worker_slot=slot)
    configure_logging(settings)
    run_dynamodb_sink(settings, stop_on_signals(), create_tables=create_tables)


def network(
    ready: Annotated[Path, typer.Option(help="The JSON file that tells where everything listens.")],
    accounts: Annotated[int, typer.Option(min=4, help="Accounts.")] = 100,
    hosts: Annotated[int, typer.Option(min=2, help="PDSs.")] = 4,
    records: Annotated[int, typer.Option(min=1, help="Records of an account, in the mean.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed makes the same network.")] = 1,
    faults: Annotated[bool, typer.Option(help="With the demo's faults.")] = True,
) -> None:
    """Serve a simulated AT Protocol network on loopback: PLC, PDSs and relay with signed repositories."""
    configure_logging(load_settings())
    make = Network.demo if faults else Network
    simulated = make(seed=seed, accounts=accounts, hosts=hosts, records=records)
    asyncio.run(serve(simulated, ready))
