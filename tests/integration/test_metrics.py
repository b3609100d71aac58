"""Every process of a deployment says on its own port what it does, and the figures fit together."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import orjson
import pytest

from api import metrics as api_metrics
from atp.plc_import import import_file
from atp.plc_writer import MirrorWriter
from docs.generate import METRICS
from local.network.faults import Unavailable
from local.network.network import Network
from messaging import lag_exporter
from stream_workers.notifier import metrics as notifier_metrics
from tests.integration.rig import PATIENCE, running, settings_for
from tests.scraping import Samples, scrape, total

PROCESSES = ["producer", "sink-dynamodb-0", "sink-parquet-0", "tracker-0", "worker-0", "worker-1"]
READ_PARTITIONS = 2 * 8 + 2 + 1 + 2 * 4
"""Of `dids` and its companion, of `outcomes`, `jobs`, and of `records` for each sink."""


def lags(samples: Samples) -> list[float]:
    return [value for (_, sample), value in samples.items() if sample.startswith("skyfill_consumer_lag")]


async def settled_samples(folder: Path) -> Samples:
    """The samples once every member of a group knows where it stands: one that has just got its partitions
    does not, and says nothing of them."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        await asyncio.sleep(1.5)  # the figures of the consumers' threads are a second old at the most
        samples = await asyncio.to_thread(scrape, folder)
        if len(lags(samples)) == READ_PARTITIONS:
            return samples
    raise AssertionError(f"only {len(lags(samples))} partitions are known")


async def mirror_twenty(plc_url: str, mirror: Path, file: Path) -> None:
    """A mirror where the producer looks for one, which knows the first twenty accounts."""
    async with aiohttp.ClientSession() as http, http.get(f"{plc_url}/export?after=0&count=20") as answer:
        file.write_bytes(await answer.read())  # noqa: ASYNC240
    with MirrorWriter(mirror, plc_url) as writer:
        assert import_file(writer, file) == (20, 0)
        writer.apply([], writer.status().position, caught_up=time.time())


@pytest.mark.timeout(240)
async def test_the_figures_of_all_processes_fit_together(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [Unavailable(account=3)]
    async with Network(seed=21, accounts=30, hosts=2, records=20, faults=faults) as network:
        settings = settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data")
        await mirror_twenty(network.plc_url, settings.plc_mirror, tmp_path / "log.jsonl")
        document = {
            "source": {"type": "inline", "dids": [*network.dids, network.dids[0]]},
            "processing": {"requests_per_second": 50},
            "storage": [
                {"type": "parquet", "path": str(tmp_path / "parquet")},
                {"type": "dynamodb", "table_name": f"{prefix}metrics"},
            ],
        }
        async with running(settings, monkeypatch=monkeypatch) as rig:
            rig.publish("measured", orjson.dumps({"backfill": document}))
            job = await rig.status("measured", lambda job: job.final)
            await rig.drained()
            samples = await settled_samples(settings.data_dir)
        assert sorted({process for process, _ in samples}) == PROCESSES
        assert not list((settings.data_dir / "metrics").iterdir()), "who ended cleanly is not scraped"

    records = job.totals.records
    assert total(samples, "skyfill_commands_total{event=submitted}") == 1
    assert total(samples, "skyfill_planned_accounts_total{result=task}") == 30
    assert total(samples, "skyfill_planned_accounts_total{result=duplicate}") == 1
    assert total(samples, "skyfill_planner_active{}") == 1
    assert total(samples, "skyfill_tasks_total{ending=completed}") == 29
    assert total(samples, "skyfill_tasks_total{ending=unavailable}") == 1
    assert total(samples, "skyfill_records_total{result=published}") == records
    assert total(samples, "skyfill_repo_seconds_count{result=completed}") == 29
    assert total(samples, "skyfill_outcomes_total{kind=completed}") == 29
    assert total(samples, "skyfill_jobs{state=ended}") == 1
    assert total(samples, "skyfill_sink_rows_total{what=read}") == 2 * records
    assert total(samples, "skyfill_sink_rows_total{what=stored}") == 2 * records
    assert total(samples, "skyfill_sink_batch_rows_sum{}") == 2 * records
    assert total(samples, "skyfill_http_requests_total{endpoint=getRepo,outcome=200}") >= 29
    assert total(samples, "skyfill_http_requests_total{endpoint=plc,outcome=200}") == 10
    assert total(samples, "skyfill_resolutions_total{answered_by=mirror}") == 20
    assert total(samples, "skyfill_resolutions_total{answered_by=request}") == 10
    assert total(samples, "skyfill_tasks_in_flight{}") == 0
    assert total(samples, f"skyfill_messages_published_total{{producer=main,topic={prefix}dids}}") == 30
    assert set(lags(samples)) == {0.0}

    not_started = (lag_exporter.SECTION, api_metrics.SECTION, notifier_metrics.SECTION)
    sections = [section for section in METRICS if section not in not_started]
    declared = {metric.name.removesuffix("_total") for section in sections for metric in section.metrics}
    shown = {sample.partition("{")[0] for _, sample in samples if sample.startswith("skyfill_")}
    for suffix in ("_bucket", "_count", "_sum", "_total"):
        shown = {name.removesuffix(suffix) for name in shown}
    assert shown <= declared, "what is exported is documented"
    quiet = {  # nothing was open, waiting, refused or left
        "skyfill_transaction_open_seconds",
        "skyfill_oldest_inflight_seconds",
        "skyfill_sink_oldest_buffered_seconds",
        "skyfill_sink_dead_letters",
        "skyfill_task_errors",
        "skyfill_produce_queue_messages",
    }
    assert declared - shown <= quiet, "what is documented is exported"
