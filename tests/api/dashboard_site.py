"""A whole deployment with its dashboard: a loop in a thread of its own, so that a browser may be driven beside it.

Planner, worker, tracker and sink are the real processes; the network is simulated, the broker the session's.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import orjson
import pytest
from confluent_kafka import Producer

from api.app import create_app
from api.main import serve
from local.network.faults import Fault
from local.network.network import Network
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.token_book import TokenBook, new_token
from schemas.job_status import JobStatus
from schemas.rates import HostRates, JobRates, RateWindow
from schemas.settings import ApiSettings, Settings
from schemas.tokens import Role
from tests.integration.rig import PATIENCE, Rig, running, settings_for

T = TypeVar("T")


class Site:
    """What a test needs of it."""

    def __init__(self, settings: Settings, network: Network, folder: Path, rig: Rig, url: str) -> None:
        self.settings, self.network, self.folder, self.rig, self.url = settings, network, folder, rig, url
        self.loop = asyncio.get_running_loop()
        self.tokens: dict[Role, str] = {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Does something in the deployment's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

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

    def ask(self, method: str, path: str, role: Role = "admin", **more: Any) -> httpx.Response:
        """The API, without a browser."""
        headers = {"Authorization": f"Bearer {self.tokens[role]}", **more.pop("headers", {})}
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=60, **more)

    def tell_status(self, status: JobStatus) -> None:
        """A status as the tracker would write it."""
        self._publish("job_status", status.job_id, status.encode())

    def tell_pace(self, job_id: str, records: Sequence[float], step: float = 20.0) -> None:
        """A job's pace over the last minutes, as the rates process would have told it."""
        now = time.time()
        for place, pace in enumerate(records):
            age = step * (len(records) - 1 - place)
            self._publish("rates", job_id, pace_message(job_id, pace).encode(), now - age)

    def _publish(self, topic: str, key: str, value: bytes, at: float | None = None) -> None:
        kafka = self.settings.kafka
        name = getattr(Names(kafka.topic_prefix), topic)
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        partition = partition_for(key, kafka.partitions.outcomes)
        producer.produce(name, value, key, partition=partition, timestamp=int((at or time.time()) * 1000))
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
    kafka: str, dynamodb: str, prefix: str, folder: Path, *, accounts: int, hosts: int, faults: Sequence[Fault] = ()
) -> Iterator[Site]:
    """Runs while the block does."""
    ready: list[Site] = []
    stop, is_ready = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    async def deployment(monkeypatch: pytest.MonkeyPatch) -> None:
        async with Network(seed=8, accounts=accounts, hosts=hosts, records=25, faults=faults) as network:
            settings = settings_for(kafka, dynamodb, prefix, network.plc_url, folder / "data")
            settings = settings.model_copy(
                update={"api": ApiSettings(folders=[folder], requests_per_minute=100_000)}
            )
            async with running(settings, workers=1, sinks=["parquet"], monkeypatch=monkeypatch) as rig:
                with socket.create_server(("127.0.0.1", 0)) as place:
                    url = f"http://127.0.0.1:{place.getsockname()[1]}"
                    site = Site(settings, network, folder, rig, url)
                    await asyncio.to_thread(_make_tokens, site)
                    serving = asyncio.create_task(serve(create_app(settings), settings, place, stop))
                    await until_answers(url, serving)
                    ready.append(site)
                    is_ready.set()
                    await serving

    def run() -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            try:
                asyncio.run(deployment(monkeypatch))
            except BaseException as error:
                failed.append(error)
            finally:
                is_ready.set()

    thread = threading.Thread(target=run, name="deployment")
    thread.start()
    is_ready.wait()
    try:
        if failed:
            raise failed[0]
        yield ready[0]
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]


async def until_answers(url: str, serving: asyncio.Task[None]) -> None:
    deadline = time.monotonic() + PATIENCE
    async with httpx.AsyncClient(timeout=5) as client:
        while True:
            if serving.done():
                serving.result()
            try:
                if (await client.get(f"{url}/readyz")).is_success:
                    return
            except httpx.HTTPError:
                assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


def _make_tokens(site: Site) -> None:
    book = TokenBook(site.settings.kafka)
    try:
        for role in ("viewer", "operator", "admin"):
            text, token = new_token(f"the {role}", role, datetime.now(UTC))
            book.put(token)
            site.tokens[role] = text
    finally:
        book.close()
