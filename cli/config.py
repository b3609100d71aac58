"""`skyfill config` and `skyfill tables`: documents and stores, checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.console import out
from cli.settings import load_settings
from schemas.backfill import DynamoDBStorage
from schemas.document import load_document
from schemas.errors import ConfigError
from schemas.export import json_schemas

app = typer.Typer(no_args_is_help=True, help="Job documents.")
tables = typer.Typer(no_args_is_help=True, help="DynamoDB tables.")


@app.command("check")
def check(config: Annotated[Path, typer.Argument(help="The YAML document.")]) -> None:
    """Check a job's document. Each mistake is named with its line and key."""
    backfill = load_document(config)
    stores = ", ".join(storage.type for storage in backfill.storage)
    out.print(f"{config}: fine. {backfill.name}: {backfill.source.type} to {stores}")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of the document."""
    out.print(json_schemas()["document.json"], end="")


@tables.command("create")
def create(
    names: Annotated[list[str] | None, typer.Argument(help="Table names.")] = None,
    config: Annotated[Path | None, typer.Option(help="Make the tables that this document names.")] = None,
    region: Annotated[
        str | None, typer.Option(show_default="as AWS is configured", help="AWS region.")
    ] = None,
) -> None:
    """Make DynamoDB tables, with on-demand billing. Changes nothing that exists."""
    from sinks.tables import connect, create_table  # boto3 takes long to load

    wanted: list[tuple[str, str | None, DynamoDBStorage | None]] = [(n, region, None) for n in names or []]
    if config is not None:
        storages = load_document(config).storage
        wanted += [(s.table_name, region or s.region, s) for s in storages if isinstance(s, DynamoDBStorage)]
    if not wanted:
        raise ConfigError("no table is named; give names, or a document that names some with --config")
    settings = load_settings().dynamodb
    for name, where, store in wanted:
        made = create_table(connect(settings, where, store), name)
        out.print(f"{name}: {'made' if made else 'was there'}")
