"""`skyfill topics`: what has to exist on the broker before anything runs."""

from __future__ import annotations

import typer

from cli.console import out, table
from cli.logs import log_nothing
from cli.settings import Data, connected_settings
from messaging import clients
from messaging.topics import create_topics, topics

app = typer.Typer(no_args_is_help=True, help="The Kafka topics.")


@app.command("create")
def create(data: Data = None) -> None:
    """Make all topics with the settings that delivery relies on. Changes nothing that exists."""
    log_nothing()
    kafka = connected_settings(data).kafka
    made = create_topics(clients.admin(kafka), kafka)
    out.print(f"{len(made)} topics made, {len(topics(kafka)) - len(made)} were there")
    for name in made:
        out.print(f"  {name}")


@app.command("list")
def list_topics(data: Data = None) -> None:
    """Show the topics as they should be and as they are."""
    log_nothing()
    kafka = connected_settings(data).kafka
    existing = clients.admin(kafka).list_topics(timeout=30).topics
    shown = table("topic", "partitions", "wanted", "settings")
    for topic in topics(kafka):
        found = len(existing[topic.name].partitions) if topic.name in existing else 0
        settings = " ".join(f"{key}={value}" for key, value in topic.config.items())
        shown.add_row(topic.name, str(found or "missing"), str(topic.partitions), settings)
    out.print(shown)
