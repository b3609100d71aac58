"""`run` where an earlier run was cut off at its worst moment: the job had ended, its rows were not stored."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from local.compare import compare, parquet_records, records_of
from local.network.network import Network
from local.one_shot import OneShot, job_id_of
from schemas.document import parse_document
from tests.integration.rig import environment, running, settings_for


@pytest.mark.timeout(240)
async def test_a_job_that_had_ended_is_stored_all_the_same(
    kafka: str, dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Network(seed=5, accounts=12, hosts=2, records=30) as network:
        settings = settings_for(kafka, dynamodb, prefix, network.plc_url, tmp_path / "data")
        backfill = parse_document(
            {
                "source": {"type": "inline", "dids": list(network.dids)},
                "processing": {"requests_per_second": 50},
                "storage": {"type": "parquet", "path": str(tmp_path / "parquet")},
            }
        ).absolute(tmp_path)
        job_id = job_id_of(backfill)
        async with running(settings, workers=1, sinks=[], monkeypatch=monkeypatch) as rig:
            rig.publish(job_id, orjson.dumps({"backfill": backfill.model_dump(mode="json")}))
            await rig.status(job_id, lambda job: job.final)
        assert not list(parquet_records(tmp_path / "parquet"))

        for name, value in environment(settings).items():
            monkeypatch.setenv(name, value)
        first = await OneShot(settings, backfill, workers=1).run()
        assert not first.found_final, "there was something left to do"
        stored = compare("Parquet", records_of(network.truth()), parquet_records(tmp_path / "parquet"))
        assert stored.exact, stored

        second = await OneShot(settings, backfill, workers=1).run()
        assert second.found_final
        assert second.status.status == "complete"
        again = compare("Parquet", records_of(network.truth()), parquet_records(tmp_path / "parquet"))
        assert again.exact, again
