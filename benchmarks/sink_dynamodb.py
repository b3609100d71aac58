"""The DynamoDB sink alone, against DynamoDB Local in memory on the same machine.

That server is far slower than AWS's and takes CPU from the sink, so wall time says little about either; what
holds elsewhere is the sink's own CPU an item.
"""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.figures import Figures
from benchmarks.repositories import RECORDS
from benchmarks.sinks import store
from benchmarks.stage import Stage
from benchmarks.tally import require_equal
from local.dynamodb import EmbeddedDynamoDB
from schemas.settings import DynamoDBSettings
from sinks.tables import connect, create_table

_TABLE = "skyfill_bench"
_ONE_IN = 10
"""Share of the repositories that are stored: more would take minutes."""


def measure(stage: Stage) -> tuple[Figures, dict[str, Any]]:
    """Figures an item. Raises LocalServerError if items are missing."""
    repositories = max(1, stage.repositories.count // _ONE_IN)
    server = EmbeddedDynamoDB(stage.folder / "dynamodb", in_memory=True)
    try:
        settings = DynamoDBSettings(endpoint_url=asyncio.run(server.start()))
        client = connect(settings)
        create_table(client, _TABLE)
        scene = stage.scene("sink_dynamodb", dynamodb_url=settings.endpoint_url)
        assert server.process is not None
        storage = {"type": "dynamodb", "table_name": _TABLE}
        reading = store(stage, scene, "dynamodb", storage, repositories, {"server": server.process})
        pages = client.get_paginator("scan").paginate(TableName=_TABLE, Select="COUNT", ConsistentRead=True)
        items = sum(answer["Count"] for answer in pages)
    finally:
        asyncio.run(server.stop())
    require_equal("items stored", items, repositories * RECORDS)
    return Figures("item", items, reading, ("sink",)), {}
