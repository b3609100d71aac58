"""A whole deployment with its dashboard, for a browser to be driven against.

Planner, worker, tracker and sink are the real processes; the network is simulated, the broker the session's.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from local.network.faults import Fault
from local.network.network import Network
from messaging import clients
from messaging.partitioner import partition_for
from schemas.job_status import JobStatus
from schemas.rates import HostRates, JobRates, RateWindow
from schemas.settings import ApiSettings, Settings
from tests.api.server import PLENTY, ApiServer
from tests.integration.rig import Rig, running, settings_for


class Site:
    """What a test needs of it."""

    def __init__(self, server: ApiServer, network: Network, folder: Path, rig: Rig) -> None:
        self.server, self.network, self.folder, self.rig = server, network, folder, rig

    @property
    def settings(self) -> Settings:
        return self.server.settings

    def start(self, job_id: str, accounts: Sequence[str], **processing: Any) -> None:
        """Starts a job the way any Kafka client would."""
        document = {
            "name": job_id,
            "source": {"type": "inline", "dids": list(accounts)},
            "processing": {"requests_per_second": 100, **processing},
            "storage": {"type": "parquet", "path": str(self.folder / "out")},
        }
        self.rig.publish(job_id, orjson.dumps({"backfill": document}))

    async def status(
        self, job_id: str, until: Callable[[JobStatus], bool] = lambda job: job.final
    ) -> JobStatus:
        """Waits for a job."""
        return await self.rig.status(job_id, until)

    def tell_pace(self, job_id: str, records: Sequence[float], step: float = 20.0) -> None:
        """A job's pace over the last minutes, as the rates process would have told it."""
        kafka, now = self.settings.kafka, time.time()
        producer = clients.producer(kafka)
        partition = partition_for(job_id, kafka.partitions.outcomes)
        for place, pace in enumerate(records):
            at = int(1000 * (now - step * (len(records) - 1 - place)))
            value = pace_message(job_id, pace).encode()
            producer.produce(self.server.board.names.rates, value, job_id, partition, timestamp=at)
        assert producer.flush(30) == 0


def pace_message(job_id: str, records: float, host: str | None = None) -> JobRates:
    """What the rates process would tell of a job that brings so many records a second."""
    window = RateWindow(
        seconds=60,
        covered_seconds=60,
        repositories=max(1, int(records)),
        repositories_per_second=records / 50,
        records_per_second=records,
        bytes_per_second=records * 300,
        p50_seconds=0.2,
        p99_seconds=1.5,
        hosts={host: HostRates(records_per_second=records)} if host else {},
    )
    return JobRates(job_id=job_id, windows=[window], updated_at=datetime.now(UTC))


@asynccontextmanager
async def dashboard_site(
    kafka: str,
    dynamodb: str,
    prefix: str,
    folder: Path,
    *,
    accounts: int,
    hosts: int,
    records: int = 25,
    faults: Sequence[Fault] = (),
) -> AsyncIterator[Site]:
    """Runs while the block does; in the main thread, which its processes' lives are tied to."""
    async with Network(seed=8, accounts=accounts, hosts=hosts, records=records, faults=faults) as network:
        api = ApiSettings(port=0, folders=[folder], requests_per_minute=PLENTY)
        settings = settings_for(kafka, dynamodb, prefix, network.plc_url, folder / "data")
        settings = settings.model_copy(update={"api": api})
        with pytest.MonkeyPatch.context() as monkeypatch:
            async with running(settings, workers=1, sinks=["parquet"], monkeypatch=monkeypatch) as rig:
                server = ApiServer(settings)
                try:
                    yield Site(server, network, folder, rig)
                finally:
                    server.close()
