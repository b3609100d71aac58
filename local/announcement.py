"""A note in the data folder that says where this folder's deployment can be reached, while it runs.

So that a command in another terminal finds an embedded broker, whose port nobody chose.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import psutil

from schemas.settings import Settings

_FILE = "deployment.json"


def announce(settings: Settings) -> None:
    """Leaves the note for as long as this process lives. `settings` have all addresses."""
    said = {
        "pid": os.getpid(),
        "born": psutil.Process().create_time(),
        # Not `client`: it may hold a password.
        "kafka": settings.kafka.model_dump(
            mode="json", include={"bootstrap_servers", "topic_prefix", "partitions"}
        ),
        "dynamodb": settings.dynamodb.model_dump(mode="json"),
    }
    draft = settings.data_dir / f"{_FILE}.{os.getpid()}"
    draft.write_bytes(orjson.dumps(said))
    draft.replace(settings.data_dir / _FILE)


def withdraw(data_dir: Path) -> None:
    """Takes the note away."""
    (data_dir / _FILE).unlink(missing_ok=True)


def announced(settings: Settings) -> Settings | None:
    """The settings with the addresses of the deployment that runs in their data folder; else None."""
    try:
        said: dict[str, Any] = orjson.loads((settings.data_dir / _FILE).read_bytes())
        alive = psutil.Process(said["pid"]).create_time() == said["born"]
    except (OSError, psutil.Error):
        return None
    if not alive:
        return None
    return settings.model_copy(
        update={
            "kafka": type(settings.kafka).model_validate(settings.kafka.model_dump() | said["kafka"]),
            "dynamodb": type(settings.dynamodb).model_validate(said["dynamodb"]),
        }
    )
