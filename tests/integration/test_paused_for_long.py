"""A job paused for longer than Kafka keeps what was written loses nothing.

What has to survive lies in topics that are compacted or kept for ever: what the job is, how far its plan and
its counts are, and the tasks that wait. Whoever goes on after the pause finds a place that is still there.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from local.network.faults import Slow
from local.network.network import Network
from messaging import clients
from messaging.control import hosts_of
from messaging.names import Names
from messaging.topics import committed_offsets, end_offsets
from schemas.report import completeness
from schemas.settings import Settings
from sinks.reports import ACCOUNTS, SUMMARY, report_of
from tests.integration.rig import PATIENCE, compared, running, settings_for

PLANNED = 48
SHORT_MS = "1000"
SLOWEST_CHECK_MS = 30_000


class Kept:
    """The topics that forget what is old, and how long they keep it."""

    def __init__(self, settings: Settings) -> None:
        kafka, names = settings.kafka, Names(settings.kafka.topic_prefix)
        self._admin, parts = clients.admin(kafka), kafka.partitions
        self._topics = {
            names.jobs: 1,
            names.records: parts.records,
            names.outcomes: parts.outcomes,
            names.deadletter: parts.deadletter,
        }
        self._readers = {
            names.jobs: [names.planner_group],
            names.outcomes: [names.tracker_group],
            names.records: [names.sink_group("parquet"), names.sink_group("dynamodb")],
            names.dids: [names.worker_group],
            names.dids_retry: [],
        }
        self._partitions = self._topics | {names.dids: parts.dids, names.dids_retry: parts.dids}

    def checks_soon(self) -> bool:
        """Whether the broker looks for old messages more often than every five minutes."""
        broker = ConfigResource(ResourceType.BROKER, str(self._admin.list_topics(timeout=30).controller_id))
        entries = self._admin.describe_configs([broker])[broker].result(30)
        return int(entries["log.retention.check.interval.ms"].value) <= SLOWEST_CHECK_MS

    def all_read(self) -> bool:
        """Whether every group has committed the end of what it reads."""
        return all(
            committed_offsets(self._admin, group, topic, range(self._partitions[topic])) == self._ends(topic)
            for topic, groups in self._readers.items()
            for group in groups
        )

    def keep(self, milliseconds: str | None) -> None:
        """Sets how long messages are kept; None: as long as the broker does by itself."""
        kind = AlterConfigOpType.DELETE if milliseconds is None else AlterConfigOpType.SET
        keys = ("retention.ms", "segment.ms")
        changes = [
            ConfigResource(
                ResourceType.TOPIC,
                topic,
                incremental_configs=[
                    ConfigEntry(key, milliseconds, incremental_operation=kind) for key in keys
                ],
            )
            for topic in self._topics
        ]
        for future in self._admin.incremental_alter_configs(changes).values():
            future.result(30)

    def all_gone(self) -> bool:
        """Whether nothing that was written is left in them."""
        return all(self._begins(topic) == self._ends(topic) for topic in self._topics)

    def _ends(self, topic: str) -> dict[int, int]:
        return end_offsets(self._admin, topic, range(self._partitions[topic]), committed=False)

    def _begins(self, topic: str) -> dict[int, int]:
        wanted = {
            TopicPartition(topic, partition): OffsetSpec.earliest()
            for partition in range(self._partitions[topic])
        }
        return {
            at.partition: found.result(30).offset for at, found in self._admin.list_offsets(wanted).items()
        }


async def come_true(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"it did not come to pass: {what}"
        await asyncio.sleep(0.3)


@pytest.mark.timeout(400)
async def test_a_job_paused_beyond_the_retention_loses_nothing(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = f"{prefix}paused"
    slow = [Slow(host=host, seconds=0.3) for host in range(2)]
    async with Network(seed=9, accounts=PLANNED, hosts=2, records=10, faults=slow) as network:
        known = settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data")
        # So few tasks at once that the plan, too, is paused half-way.
        settings = known.model_copy(
            update={"planner": known.planner.model_copy(update={"tasks_per_partition": 1})}
        )
        monkeypatch.setenv("SKYFILL_PLANNER__TASKS_PER_PARTITION", "1")
        document: dict[str, Any] = {
            "source": {"type": "inline", "dids": list(network.dids)},
            "processing": {"requests_per_second": 50, "batch_size": 8},
            "storage": [
                {"type": "parquet", "path": str(tmp_path / "out")},
                {"type": "dynamodb", "table_name": table},
            ],
        }
        async with running(settings, monkeypatch=monkeypatch) as rig:
            kept = Kept(settings)
            if not await asyncio.to_thread(kept.checks_soon):
                pytest.skip("this broker deletes old messages every few minutes only")
            rig.publish("long", orjson.dumps({"backfill": document}))
            await rig.status("long", lambda job: job.totals.completed > 0)
            rig.publish("long", orjson.dumps({"action": "pause"}))
            await rig.status("long", lambda job: job.status == "paused")
            await come_true(kept.all_read, "all that is under way ends, the rest is parked")
            paused = await rig.status("long", lambda job: True)
            assert 0 < paused.totals.completed < PLANNED
            assert not paused.plan_finished

            kept.keep(SHORT_MS)
            await come_true(kept.all_gone, "the end of all that was written so far")
            kept.keep(None)  # what comes from now on is only as safe as sinks are quick
            for name in ("tracker", "producer", "worker-0", "sink-parquet", "sink-dynamodb"):
                await rig.kill(name)
            rig.publish("long", orjson.dumps({"action": "resume"}))
            job = await rig.status("long", lambda job: job.final)
            await rig.drained()
            stores = await compared(network, tmp_path / "out", settings.dynamodb, table)
            summary = report_of(tmp_path / "out", "long") / SUMMARY
            await come_true(summary.exists, "the report")

        assert (job.status, job.total, job.totals.completed) == (
            "complete",
            PLANNED,
            PLANNED,
        )
        records = sum(len(account.records) for account in network.truth())
        assert (job.totals.retrying, job.totals.records) == (0, records)
        report = completeness(job, await asyncio.to_thread(hosts_of, settings.kafka, "long"))
        assert report.complete
        assert [host.percent_succeeded for host in report.hosts] == [100, 100]
        assert sum(host.records for host in report.hosts) == job.totals.records
        assert all(store.exact for store in stores), stores
        told = json.loads(summary.read_bytes())["accounts"]
        assert told["file"] == ACCOUNTS
        assert told["missing"] == paused.totals.terminal, "it says which accounts it has no rows of"
        assert "no longer keeps their outcomes" in told["note"]
