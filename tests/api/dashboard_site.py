"""A whole deployment with its dashboard, run beside the test's own thread, so that a browser may be driven.

Planner, worker, tracker and sink are the real processes; the network is simulated, the broker the session's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

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
from tests.integration.rig import PATIENCE, Rig, running, settings_for

T = TypeVar("T")


class Site:
    """What a test needs of it."""

    def __init__(self, settings: Settings, network: Network, folder: Path, rig: Rig) -> None:
        self.settings, self.network, self.folder, self.rig = settings, network, folder, rig
        self._loop = asyncio.get_running_loop()
        self.server: ApiServer

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Does something in the deployment's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def start(self, job_id: str, accounts: Sequence[str], **processing: Any) -> None:
        """Starts a job the way any Kafka client would."""
        document = {
            "source": {"type": "inline", "dids": list(accounts)},
            "processing": {"requests_per_second": 100, **processing},
            "storage": {"type": "parquet", "path": str(self.folder / "out")},
        }
        self.rig.publish(job_id, orjson.dumps({"backfill": document}))

    def status(self, job_id: str, until: Callable[[JobStatus], bool] = lambda job: job.final) -> JobStatus:
        """Waits for a job."""
        return self.run(self.rig.status(job_id, until))

    def tell_pace(self, job_id: str, records: Sequence[float], step: float = 20.0) -> None:
        """A job's pace over the last minutes, as the rates process would have told it."""
        now = time.time()
        for place, pace in enumerate(records):
            at = int(1000 * (now - step * (len(records) - 1 - place)))
            kafka = self.settings.kafka
            value, partition = (
                pace_message(job_id, pace).encode(),
                partition_for(job_id, kafka.partitions.outcomes),
            )
            producer = clients.producer(kafka)
            producer.produce(self.server.board.names.rates, value, job_id, partition, timestamp=at)
            assert producer.flush(30) == 0


def pace_message(job_id: str, records: float, host: str | None = None) -> JobRates:
    hosts = {host: HostRates(records_per_second=records)} if host else {}
    window = RateWindow(
        seconds=60,
        covered_seconds=60,
        repositories=max(1, int(records)),
        repositories_per_second=records / 50,
        records_per_second=records,
        bytes_per_second=records * 300,
        p50_seconds=0.2,
        p99_seconds=1.5,
        hosts=hosts,
    )
    return JobRates(job_id=job_id, windows=[window], updated_at=datetime.now(UTC))


@contextmanager
def dashboard_site(
    kafka: str,
    dynamodb: str,
    prefix: str,
    folder: Path,
    *,
    accounts: int,
    hosts: int,
    records: int = 25,
    faults: Sequence[Fault] = (),
) -> Iterator[Site]:
    """Runs while the block does."""
    made: list[Site] = []
    failed: list[BaseException] = []
    began, stop = threading.Event(), asyncio.Event()

    async def deployment(monkeypatch: pytest.MonkeyPatch) -> None:
        async with Network(seed=8, accounts=accounts, hosts=hosts, records=records, faults=faults) as network:
            api = ApiSettings(port=0, folders=[folder], requests_per_minute=PLENTY)
            settings = settings_for(kafka, dynamodb, prefix, network.plc_url, folder / "data")
            settings = settings.model_copy(update={"api": api})
            async with running(settings, workers=1, sinks=["parquet"], monkeypatch=monkeypatch) as rig:
                made.append(Site(settings, network, folder, rig))
                began.set()
                await stop.wait()

    def run() -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            try:
                asyncio.run(deployment(monkeypatch))
            except BaseException as error:
                failed.append(error)
            finally:
                began.set()

    thread = threading.Thread(target=run, name="deployment")
    thread.start()
    began.wait()
    if failed:
        raise failed[0]
    [site] = made
    try:
        site.server = ApiServer(site.settings)
        yield site
    finally:
        if hasattr(site, "server"):
            site.server.close()
        site._loop.call_soon_threadsafe(stop.set)
        thread.join()
    if failed:
        raise failed[0]
