"""Finding the deployment to talk to: the configured broker, or the one that `skyfill up` runs in a folder."""

from __future__ import annotations

from pathlib import Path

import orjson
import psutil

from cli.console import data_settings
from schemas.errors import ConfigError
from schemas.settings import Settings

_FILE = "deployment.json"


def announce(settings: Settings, pid: int) -> Path:
    """Leaves a note in the data folder where this deployment's servers are; returns its path."""
    note = settings.data_dir / _FILE
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_bytes(
        orjson.dumps(
            {
                "pid": pid,
                "bootstrap_servers": settings.kafka.bootstrap_servers,
                "dynamodb": settings.dynamodb.endpoint_url,
            }
        )
    )
    return note


def connected_settings(data: Path | None) -> Settings:
    """The settings with a broker's address. ConfigError if there is none to be found."""
    settings = data_settings(data)
    if settings.kafka.bootstrap_servers:
        return settings
    note = settings.data_dir / _FILE
    if not note.exists() or not psutil.pid_exists((said := orjson.loads(note.read_bytes()))["pid"]):
        raise ConfigError(
            f"no broker: SKYFILL_KAFKA__BOOTSTRAP_SERVERS is not set, and no `skyfill up` runs with the data "
            f"folder {settings.data_dir} (name another with --data)"
        )
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": said["bootstrap_servers"]})
    dynamodb = settings.dynamodb.model_copy(
        update={"endpoint_url": settings.dynamodb.endpoint_url or said["dynamodb"]}
    )
    return settings.model_copy(update={"kafka": kafka, "dynamodb": dynamodb})
