"""`skyfill run` and `skyfill get`: one job on this machine, from document to files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.console import configure_logging, data_settings, err, out
from cli.progress import ProgressDisplay
from cli.summary import as_json, exit_code, print_summary
from local.deployment import LocalDynamoDB
from local.one_shot import OneShot, Result
from schemas.backfill import Backfill
from schemas.document import load_document, parse_document
from schemas.settings import Settings

DEFAULT_WORKERS = min(4, os.cpu_count() or 1)
Workers = Annotated[int, typer.Option("--workers", "-w", min=1, max=64, help="Fetch workers to start.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of the embedded servers, logs and temporary files [.skyfill]."),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the summary there as JSON, too.")]
Again = Annotated[bool, typer.Option("--again", help="Run a job once more that has ended already.")]


def run(
    config: Annotated[Path, typer.Argument(help="The YAML document of the job.")],
    workers: Workers = DEFAULT_WORKERS,
    data: Data = None,
    json_file: JsonFile = None,
    again: Again = False,
    local_dynamodb: Annotated[
        bool, typer.Option("--local-dynamodb", help="Embed DynamoDB Local and make its tables.")
    ] = False,
) -> None:
    """Run one backfill to its end: start what it needs, show progress, wait until everything is stored.

    The broker is SKYFILL_KAFKA__BOOTSTRAP_SERVERS if that is set, else an embedded one. Interrupted, the
    same command goes on where it stopped. Exit code: 0 complete, 2 partial, 1 error.
    """
    backfill = load_document(config).absolute(Path.cwd())
    settings = data_settings(data)
    embedded: LocalDynamoDB | None = "disk" if local_dynamodb else None
    finish(settings, backfill, workers, json_file, again, local_dynamodb=embedded)


def get(
    accounts: Annotated[list[str], typer.Argument(help="Handles or DIDs.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the Parquet files.")],
    types: Annotated[
        str, typer.Option(help="Record types, by comma: post,like or app.bsky.feed.* [all].")
    ] = "",
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only records from this day (UTC) on.")
    ] = None,
    data: Data = None,
    json_file: JsonFile = None,
    again: Again = False,
) -> None:
    """Fetch a few accounts into Parquet files, without a document."""
    section = {
        "name": "get",
        "source": {"type": "inline", "dids": [name.removeprefix("@") for name in accounts]},
        "record_types": [name.strip() for name in types.split(",") if name.strip()],
        "time_range": {"start_date": since.date() if since else date(1970, 1, 1)} if since else None,
        "storage": {"type": "parquet", "path": str(out_dir)},
    }
    backfill = parse_document(section).absolute(Path.cwd())
    settings = data_settings(data or out_dir / ".skyfill")
    finish(settings, backfill, 1, json_file, again)


def finish(
    settings: Settings,
    backfill: Backfill,
    workers: int,
    json_file: Path | None,
    again: bool,
    *,
    local_dynamodb: LocalDynamoDB | None = None,
) -> None:
    """Runs the job, shows it, prints the summary, and ends the command with its exit code."""
    result, shot = run_shown(settings, backfill, workers, again=again, local_dynamodb=local_dynamodb)
    if json_file:
        json_file.write_text(json.dumps(as_json(result, backfill), indent=2) + "\n")
    print_summary(out, result, backfill, shot.deployment.logs)
    if result.found_final:
        out.print("\nThis job had ended before; add --again to run it once more.")
    raise typer.Exit(exit_code(result.status))


def run_shown(
    settings: Settings,
    backfill: Backfill,
    workers: int,
    *,
    again: bool = False,
    local_dynamodb: LocalDynamoDB | None = None,
) -> tuple[Result, OneShot]:
    """Runs a job with the live display."""
    settings = settings.model_copy(update={"log_level": backfill.monitoring.log_level})
    configure_logging(settings.model_copy(update={"log_level": "WARNING"}))
    with ProgressDisplay(err) as display:
        shot = OneShot(
            settings, backfill, workers=workers, again=again, local_dynamodb=local_dynamodb, show=display.show
        )
        return asyncio.run(_interruptible(shot)), shot


async def _interruptible(shot: OneShot) -> Result:
    running = asyncio.create_task(shot.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        err.print("\nStopped. Run the same command again to go on where it stopped.")
        raise typer.Exit(130) from None
