"""`skyfill config` and `skyfill tables`: documents and stores, checked before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.console import data_settings, out
from schemas.backfill import Backfill, DynamoDBStorage
from schemas.document import load_document
from sinks.tables import connect, create_table

app = typer.Typer(no_args_is_help=True, help="Job documents.")
tables = typer.Typer(no_args_is_help=True, help="DynamoDB tables.")


@app.command("check")
def check(config: Annotated[Path, typer.Argument(help="The YAML document.")]) -> None:
    """Check a job's document. Each mistake is named with its line and key."""
    backfill = load_document(config)
    stores = ", ".join(storage.type for storage in backfill.storage)
    out.print(f"{config}: fine. {backfill.name}: {backfill.source.type} to {stores}", markup=False)


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of the document."""
    out.print_json(json.dumps({"type": "object", "properties": {"backfill": Backfill.model_json_schema()}}))


@tables.command("create")
def create(
    names: Annotated[list[str] | None, typer.Argument(help="Table names.")] = None,
    config: Annotated[Path | None, typer.Option(help="Make the tables that this document names.")] = None,
    region: Annotated[str | None, typer.Option(help="AWS region [the usual configuration].")] = None,
) -> None:
    """Make DynamoDB tables, with on-demand billing. Changes nothing that exists."""
    wanted = [(name, region) for name in names or []]
    if config is not None:
        storages = load_document(config).storage
        wanted += [(s.table_name, region or s.region) for s in storages if isinstance(s, DynamoDBStorage)]
    if not wanted:
        raise typer.BadParameter("name a table, or a document with --config")
    settings = data_settings(None).dynamodb
    for name, where in wanted:
        made = create_table(connect(settings, where), name)
        out.print(f"{name}: {'made' if made else 'was there'}", markup=False)
