"""One repository of two million records among small ones: through a real broker into both stores, its worker
killed in the midst of publishing it.

Takes about half an hour, most of it DynamoDB Local's; SKYFILL_TEST_GIANT makes it smaller.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from local.compare import compare, dynamodb_items, parquet_records, records_of
from local.network.network import Network
from local.network.truth import RecordTruth
from messaging import clients
from messaging.names import Names
from messaging.topics import end_offsets
from schemas.settings import DynamoDBSettings
from sinks.items import HASH_KEY, RANGE_KEY, record_text
from sinks.tables import connect
from tests.integration import rig as rigs
from tests.integration.rig import Rig, running, settings_for

RECORDS = int(os.environ.get("SKYFILL_TEST_GIANT", "2000000"))
GIANT, SMALL = 0, 60


@pytest.mark.long
@pytest.mark.timeout(3 * 3600)
async def test_a_giant_holds_up_nobody_and_is_stored_once(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rigs, "PATIENCE", 3600.0)
    table = f"{prefix}giant"
    async with Network(
        seed=31, accounts=SMALL + 1, hosts=4, records=40, sizes={GIANT: RECORDS}, car_budget=2**31
    ) as network:
        await network.warm()
        settings = settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data")
        async with running(settings, workers=1, monkeypatch=monkeypatch) as rig:
            rig.publish("giant", document(list(network.dids), tmp_path / "out", table))
            await asyncio.to_thread(until, lambda: written(rig) > RECORDS // 4)
            meanwhile = await rig.status("giant", lambda job: job.totals.completed > 0)
            await rig.kill("worker-0")
            job = await rig.status("giant", lambda job: job.final)
            await rig.drained()
        assert meanwhile.totals.completed > SMALL // 2, "small ones have to end beside the giant"
        assert job.status == "complete"
        assert job.totals.records == sum(len(account.records) for account in network.truth())
        truth = list(records_of(network.truth()))
        assert (stored := compare("Parquet", truth, parquet_records(tmp_path / "out"))).exact, stored
        assert await asyncio.to_thread(dynamodb_items, settings.dynamodb, table) == len(truth)
        await asyncio.to_thread(looked_up, settings.dynamodb, table, random.sample(truth, 2000))


def looked_up(dynamodb: DynamoDBSettings, table: str, some: list[RecordTruth]) -> None:
    """One by one: DynamoDB Local takes minutes for a page of so large a table."""
    client = connect(dynamodb)
    for record in some:
        did, _, key = record.uri.removeprefix("at://").partition("/")
        found = client.get_item(TableName=table, Key={HASH_KEY: {"S": did}, RANGE_KEY: {"S": key}})
        assert found["Item"]["cid"]["S"] == record.cid
        assert orjson.loads(record_text(found["Item"])) == record.record


def document(dids: list[str], out: Path, table: str) -> bytes:
    return orjson.dumps(
        {
            "backfill": {
                "source": {"type": "inline", "dids": dids},
                "processing": {"requests_per_second": 100},
                "storage": [
                    {"type": "parquet", "path": str(out)},
                    {"type": "dynamodb", "table_name": table},
                ],
            }
        }
    )


def written(rig: Rig) -> int:
    """Messages in `records`, committed or not."""
    kafka = rig.settings.kafka
    topic = Names(kafka.topic_prefix).records
    ends = end_offsets(clients.admin(kafka), topic, range(kafka.partitions.records), committed=False)
    return sum(ends.values())


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 3600
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)
