"""Jobs that come to nothing, each in a way of its own: the right status, and a sentence that explains it.

Planned, fetched and counted by the real processes; nothing here writes an outcome itself.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import orjson
import pytest

from local.network.faults import Corrupted
from local.network.network import Network
from producers.sources.listed import LIST_PAGE
from schemas.explain import explain
from schemas.job_status import JobStatus
from schemas.report import completeness
from tests.integration.rig import Rig, running, settings_for

GOOD = 12


def start(rig: Rig, job: str, source: dict[str, Any], out: Path) -> None:
    document = {
        "source": source,
        "processing": {"requests_per_second": 50, "max_retries": 0, "batch_size": 5},
        "storage": [{"type": "parquet", "path": str(out)}],
    }
    rig.publish(job, orjson.dumps({"backfill": document}))


@pytest.mark.timeout(240)
async def test_each_ends_as_it_should_and_says_why(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrupted = [Corrupted(account=GOOD, how="wrong_signature")]
    async with Network(seed=5, accounts=GOOD + 1, hosts=2, records=5, faults=corrupted) as network:
        dids = list(network.dids)
        empty, broken = tmp_path / "empty.txt", tmp_path / "broken.txt"
        empty.write_text("\n")
        whole_page = (dids[:GOOD] * LIST_PAGE)[:LIST_PAGE]  # nearly all of them duplicates
        broken.write_text("\n".join([*whole_page, "\0"]))
        settings = settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data")
        async with running(settings, workers=1, sinks=["parquet"], monkeypatch=monkeypatch) as rig:
            planner = rig.process("producer").process.pid
            assert planner is not None
            # The planner finds all of it at once: the job is cancelled before anything of it was planned.
            os.kill(planner, signal.SIGSTOP)
            start(rig, "called-off", {"type": "inline", "dids": dids[:GOOD]}, tmp_path / "out")
            rig.publish("called-off", orjson.dumps({"action": "cancel"}))
            start(rig, "hopeless", {"type": "inline", "dids": [dids[GOOD], "neither"]}, tmp_path / "out")
            start(rig, "empty", {"type": "file", "path": str(empty)}, tmp_path / "out")
            start(rig, "half", {"type": "file", "path": str(broken)}, tmp_path / "out")
            os.kill(planner, signal.SIGCONT)

            async def ended(job: str) -> JobStatus:
                return await rig.status(job, lambda status: status.final)

            called_off, hopeless = await ended("called-off"), await ended("hopeless")
            nothing, half = await ended("empty"), await ended("half")

    assert (called_off.status, called_off.total, called_off.started_at) == ("cancelled", 0, None)
    assert explain(called_off) == "It was cancelled before it started: none of its accounts was planned."

    assert (hopeless.status, hopeless.totals.failed, hopeless.total) == ("error", 2, 2)
    assert hopeless.totals.failed_by == {"verification_failed": 1, "validation_failed": 1}
    sentence = explain(hopeless)
    assert sentence.startswith("2 of 2 accounts failed (1 validation_failed and 1 verification_failed)")
    assert "Not one succeeded" in sentence

    assert (nothing.status, nothing.total) == ("error", 0), "a backfill of nothing is a mistake"
    sentence = explain(nothing)
    assert sentence.startswith("Its source gave no account to fetch: ")
    assert sentence.endswith("holds no accounts; name at least one DID or handle.")
    assert not completeness(nothing, {}).complete

    assert (half.status, half.source_failed, half.totals.completed) == ("error", True, half.total)
    assert half.total == GOOD
    sentence = explain(half)
    assert sentence.startswith("Its source failed half-way: ")
    assert "NUL byte" in sentence
    assert (
        f"after {half.total} accounts were planned; those were fetched. {half.total} completed." in sentence
    )
    assert not completeness(half, {}).complete
