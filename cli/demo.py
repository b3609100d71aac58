"""`skyfill demo`: the whole pipeline on a simulated network, and proof that nothing was lost or doubled."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.console import canvas, out, table
from cli.logs import log_to_file
from cli.progress import ProgressDisplay
from cli.run import DEFAULT_WORKERS, Workers
from cli.settings import load_settings
from cli.signals import run_until_signal
from cli.summary import print_summary

_SAMPLE = """
    SELECT collection, count(*) AS records, count(DISTINCT did) AS accounts,
           strftime(min(created_at), '%Y-%m-%d') AS oldest, strftime(max(created_at), '%Y-%m-%d') AS newest
    FROM read_parquet($files) GROUP BY collection ORDER BY records DESC, collection
"""


def demo(
    accounts: Annotated[int, typer.Option(min=4, help="Accounts of the simulated network.")] = 200,
    hosts: Annotated[int, typer.Option(min=2, help="Its PDSs.")] = 6,
    records: Annotated[int, typer.Option(min=1, help="Records of an account, in the mean.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed makes the same network.")] = 1,
    workers: Workers = DEFAULT_WORKERS,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for everything; an old demo's is emptied.")
    ] = Path("demo-output"),
) -> None:
    """Backfill a simulated network through a real Kafka into Parquet and DynamoDB Local.

    One of its hosts limits rates, one account is taken down, one moved, one repository is corrupted. At the
    end both stores are compared with what the network served; any difference is exit code 1.
    """
    from local.demo import DemoNetwork, clean_folder, demo_settings, run_demo  # brings pyarrow along

    given = load_settings()
    folder = clean_folder(out_dir)
    settings = demo_settings(given, folder)
    log_to_file(settings, folder / "demo.log")
    network = DemoNetwork(folder, accounts=accounts, hosts=hosts, records=records, seed=seed)
    with ProgressDisplay(canvas) as display:
        shown = run_until_signal(run_demo(network, settings, folder, workers, display.show), "Stopped.")
    print_summary(out, shown.result, shown.backfill, settings.data_dir / "logs")
    _print_sample(folder / "parquet")
    for line in [*shown.parquet.examples, *shown.dynamodb.examples]:
        out.print(line)
    if wrong := shown.wrong_counts():
        out.print(wrong)
    out.print(
        f"\ndemo: {shown.repositories} repositories, {shown.parquet.stored} records in Parquet, "
        f"{shown.dynamodb.stored} items in DynamoDB, {shown.lost} lost, {shown.duplicated} duplicated"
    )
    raise typer.Exit(1 if wrong or not (shown.parquet.exact and shown.dynamodb.exact) else 0)


def _print_sample(folder: Path) -> None:
    import duckdb

    files = str(folder / "**" / "*.parquet")
    rows = duckdb.connect().execute(_SAMPLE, {"files": files})
    sample = table(*(str(column[0]) for column in rows.description or []))
    for row in rows.fetchall():
        sample.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row))
    out.print("\nthe Parquet files, seen by DuckDB")
    out.print(sample)
