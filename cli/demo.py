"""`skyfill demo`: the whole pipeline on a simulated network, and proof that nothing was lost or doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import duckdb
import typer
from rich.table import Table

from cli.console import configure_logging, err, load_settings, out
from cli.progress import ProgressDisplay
from cli.run import DEFAULT_WORKERS
from cli.summary import print_summary
from local.compare import Comparison, compare, dynamodb_records, parquet_records, records_of
from local.demo import TABLE, DemoNetwork, clean_folder, demo_backfill, demo_settings
from local.network.truth import AccountTruth
from local.one_shot import OneShot, Result
from schemas.backfill import Backfill
from schemas.settings import Settings

_SAMPLE = """
    SELECT collection, count(*) AS records, count(DISTINCT did) AS accounts,
           strftime(min(created_at), '%Y-%m-%d') AS oldest, strftime(max(created_at), '%Y-%m-%d') AS newest
    FROM '{files}' GROUP BY collection ORDER BY records DESC, collection
"""


def demo(
    accounts: Annotated[int, typer.Option(min=4, help="Accounts of the simulated network.")] = 300,
    hosts: Annotated[int, typer.Option(min=2, help="Its PDSs.")] = 6,
    records: Annotated[int, typer.Option(min=1, help="Records of an account, in the mean.")] = 150,
    seed: Annotated[int, typer.Option(help="The same seed makes the same network.")] = 1,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, max=64)] = DEFAULT_WORKERS,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for everything; an old demo's is emptied.")
    ] = Path("demo-output"),
) -> None:
    """Backfill a simulated network through a real Kafka into Parquet and DynamoDB Local.

    One of its hosts limits rates, one account is taken down, one moved, one repository is corrupted. At the
    end both stores are compared with what the network served; any difference is exit code 1.
    """
    folder = clean_folder(out_dir)
    settings = load_settings()
    configure_logging(settings.model_copy(update={"log_level": "WARNING"}))
    network = DemoNetwork(folder, accounts=accounts, hosts=hosts, records=records, seed=seed)
    with ProgressDisplay(err) as display:
        ran = asyncio.run(_run(network, settings, folder, workers, display))
    result, backfill, truth, comparisons = ran
    print_summary(out, result, backfill, folder / "data" / "logs")
    _print_sample(folder / "parquet")
    for line in [example for c in comparisons for example in c.examples]:
        out.print(line, markup=False, soft_wrap=True)
    parquet, dynamodb = comparisons
    repositories = sum(account.state == "ok" for account in truth)
    lost = sum(c.lost + c.different for c in comparisons)
    duplicated = sum(c.duplicated + c.foreign for c in comparisons)
    out.print(
        f"\ndemo: {repositories} repositories, {parquet.stored} records in Parquet, "
        f"{dynamodb.stored} items in DynamoDB, {lost} lost, {duplicated} duplicated",
        soft_wrap=True,
    )
    raise typer.Exit(0 if all(c.exact for c in comparisons) and _as_expected(result, truth) else 1)


async def _run(
    network: DemoNetwork, settings: Settings, folder: Path, workers: int, display: ProgressDisplay
) -> tuple[Result, Backfill, list[AccountTruth], list[Comparison]]:
    try:
        await network.start()
        dids = [account.did for account in await network.truth(records=False)]
        backfill = demo_backfill(dids, folder)
        shot = OneShot(
            demo_settings(settings, folder, network.plc_url),
            backfill,
            workers=workers,
            local_dynamodb="memory",
            show=display.show,
        )
        truth: list[AccountTruth] = []
        comparisons: list[Comparison] = []

        async def hold_against_truth(running: Settings) -> None:
            truth.extend(await network.truth())
            comparisons.append(compare("Parquet", records_of(truth), parquet_records(folder / "parquet")))
            items = dynamodb_records(running.dynamodb, TABLE)
            comparisons.append(await asyncio.to_thread(compare, "DynamoDB", records_of(truth), items))

        result = await shot.run(before_stop=hold_against_truth)
        return result, backfill, truth, comparisons
    finally:
        await network.stop()


def _print_sample(folder: Path) -> None:
    rows = duckdb.connect().execute(_SAMPLE.format(files=folder / "**" / "*.parquet"))
    names = [str(column[0]) for column in rows.description or []]
    table = Table(*names, title="\nthe Parquet files, seen by DuckDB", title_justify="left", box=None)
    for row in rows.fetchall():
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row))
    out.print(table)


def _as_expected(result: Result, truth: list[AccountTruth]) -> bool:
    """Whether every account ended as the network meant it to; the first that did not is named."""
    totals = result.status.totals
    ok = sum(account.state == "ok" for account in truth)
    unavailable = sum(account.state == "unavailable" for account in truth)
    failed = len(truth) - ok - unavailable
    if (totals.completed, totals.unavailable, totals.failed) == (ok, unavailable, failed):
        return True
    out.print(
        f"the status says {totals.completed} completed, {totals.unavailable} unavailable and "
        f"{totals.failed} failed; the network served {ok}, {unavailable} and {failed}"
    )
    return False
