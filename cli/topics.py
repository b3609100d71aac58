"""`skyfill topics`: what has to exist on the broker before anything runs."""

from __future__ import annotations

import typer
from rich.table import Table

from cli.connect import connected_settings
from cli.console import out
from cli.run import Data
from messaging import clients
from messaging.topics import create_topics, topics

app = typer.Typer(no_args_is_help=True, help="The Kafka topics.")


@app.command("create")
def create(data: Data = None) -> None:
    """Make all topics with the settings that delivery relies on. Changes nothing that exists."""
    kafka = connected_settings(data).kafka
    made = create_topics(clients.admin(kafka), kafka)
    out.print(f"{len(made)} topics made, {len(topics(kafka)) - len(made)} were there")
    for name in made:
        out.print(f"  {name}", markup=False)


@app.command("list")
def list_topics(data: Data = None) -> None:
    """Show the topics as they should be and as they are."""
    kafka = connected_settings(data).kafka
    existing = clients.admin(kafka).list_topics(timeout=30).topics
    table = Table("topic", "partitions", "wanted", "settings", box=None)
    for topic in topics(kafka):
        found = len(existing[topic.name].partitions) if topic.name in existing else 0
        settings = " ".join(f"{key}={value}" for key, value in topic.config.items())
        table.add_row(topic.name, str(found or "missing"), str(topic.partitions), settings)
    out.print(table)
