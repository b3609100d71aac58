"""`skyfill run` and `skyfill get`: one job on this machine, from document to files."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.console import canvas, out
from cli.logs import log_to_file
from cli.progress import ProgressDisplay
from cli.settings import Data, data_settings
from cli.signals import run_until_signal
from cli.summary import as_json, exit_code, print_summary
from schemas.backfill import Backfill, Monitoring
from schemas.document import load_document, parse_document
from schemas.errors import ConfigError
from schemas.settings import Settings

DEFAULT_WORKERS = min(4, os.cpu_count() or 1)
Workers = Annotated[
    int,
    typer.Option(
        "--workers", "-w", min=1, max=64, show_default="one per CPU, up to 4", help="Fetch workers to start."
    ),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", dir_okay=False, help="Write the summary there as JSON, too.")
]
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

    The broker is SKYFILL_KAFKA__BOOTSTRAP_SERVERS if that is set, else an embedded one. DynamoDB is AWS, or
    SKYFILL_DYNAMODB__ENDPOINT_URL if that is set. Interrupted, the same command goes on where it stopped.
    Exit code: 0 complete, 2 partial, 1 error, 130 or 143 interrupted.
    """
    backfill = load_document(config).absolute(Path.cwd())
    settings = data_settings(data)
    finish(settings, backfill, workers, json_file, again, embed_dynamodb=local_dynamodb)


def get(
    accounts: Annotated[list[str], typer.Argument(help="Handles or DIDs.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the Parquet files.")],
    types: Annotated[
        str, typer.Option(show_default="all", help="Record types, by comma: post,like or app.bsky.feed.*")
    ] = "",
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Only records from this day (UTC) on."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            show_default=".skyfill in the --out folder",
            help="Folder of the embedded servers and logs.",
        ),
    ] = None,
    json_file: JsonFile = None,
    again: Again = False,
) -> None:
    """Fetch a few accounts into Parquet files, without a document."""
    section = {
        "name": "get",
        "source": {"type": "inline", "dids": [name.removeprefix("@") for name in accounts]},
        "record_types": [name.strip() for name in types.split(",") if name.strip()],
        "time_range": {"start_date": since.date()} if since else None,
        "storage": {"type": "parquet", "path": str(out_dir)},
    }
    backfill = parse_document(section).absolute(Path.cwd())
    settings = data_settings(data or out_dir.absolute() / ".skyfill")
    finish(settings, backfill, 1, json_file, again)


def monitored(settings: Settings, monitoring: Monitoring) -> Settings:
    """The settings as the document wants them; a port that was set for this machine comes first."""
    changes: dict[str, object] = {"log_level": monitoring.log_level}
    if "port" not in settings.metrics.model_fields_set:
        changes["metrics"] = settings.metrics.model_copy(update={"port": monitoring.prometheus_port})
    return settings.model_copy(update=changes)


def finish(
    settings: Settings,
    backfill: Backfill,
    workers: int,
    json_file: Path | None,
    again: bool,
    *,
    embed_dynamodb: bool = False,
) -> None:
    """Runs the job, shows it, prints the summary, and ends the command with its exit code."""
    from local.one_shot import OneShot  # it brings boto3 along
    from local.stores import writable_folder

    if json_file and not json_file.absolute().parent.is_dir():
        raise ConfigError(f"{json_file.parent} is no folder; make it, or name another file with --json")
    settings = monitored(settings, backfill.monitoring)
    writable_folder(settings.data_dir, "data folder")
    log_to_file(settings, settings.data_dir / "run.log")
    with ProgressDisplay(canvas) as display:
        shot = OneShot(
            settings,
            backfill,
            workers=workers,
            local_dynamodb="disk" if embed_dynamodb else None,
            again=again,
            show=display.show,
        )
        result = run_until_signal(
            shot.run(), "Stopped. Run the same command again to go on where it stopped."
        )
    if json_file:
        json_file.write_text(json.dumps(as_json(result, backfill), indent=2) + "\n")
    print_summary(out, result, backfill, shot.deployment.logs)
    if result.found_final:
        out.print("This job had ended before; add --again to run it once more.")
    raise typer.Exit(exit_code(result.status))
