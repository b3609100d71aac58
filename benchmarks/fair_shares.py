"""A small job behind a very large one on the same two hosts: how long it takes from its command to its end.

Planner, tracker and one worker with the defaults: ten requests a second to a host for each job. The small job
is submitted when the planner gives the large one no more tasks for now: nothing lies further ahead of it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.figures import Figures
from benchmarks.measure import Meter
from benchmarks.stage import Scene, Stage
from benchmarks.tally import require_equal
from local.network.network import Network
from local.process import ChildProcess
from messaging.control import StatusBoard, send_command
from messaging.views import CompactedView
from schemas.job_status import JobStatus
from schemas.jobs import JobMessage
from schemas.plans import PlanCheckpoint

HOSTS = 2
SMALL = 20
_LARGE_A_REPOSITORY = 100
_RECORDS = 3
_STILL_SECONDS = 12.0
"""A plan that has not moved for so long waits for tasks to be done; a chunk takes less."""
_PATIENCE = 1800.0


def measure(stage: Stage) -> tuple[Figures, dict[str, Any]]:
    """Figures an account of the small job. Raises LocalServerError if one of its accounts is not fetched."""
    large = stage.repositories.count * _LARGE_A_REPOSITORY
    with _network(large + SMALL) as network:
        scene = stage.scene("fair_shares", plc_url=network.plc_url)
        names = scene.names
        scene.write_source(network.dids[:large])
        board = StatusBoard(scene.kafka)
        with (
            scene.process("producer", "producer") as planner,
            scene.process("tracker", "tracker") as tracker,
            scene.process("worker", "worker", "--slot", "0") as worker,
        ):
            processes = [planner, tracker, worker]
            scene.await_rest(worker, names.worker_group, names.dids)
            scene.await_rest(planner, names.planner_group, names.jobs)
            document = _document({"type": "file", "path": str(scene.settings.data_dir / "dids.txt")})
            send_command(scene.kafka, "large", JobMessage(backfill=document))
            planned = _await_standstill(scene, processes)
            before = _status(board, "large")

            meter = Meter({"worker": worker.pid, "planner": planner.pid, "broker": stage.broker.pid})
            document = _document({"type": "inline", "dids": list(network.dids[large:])})
            send_command(scene.kafka, "small", JobMessage(backfill=document))

            def ended() -> JobStatus | None:
                known = _status(board, "small")
                return known if known is not None and known.final else None

            small = scene.until(ended, "the end of the small job", processes, seconds=_PATIENCE)
            reading = meter.read()
            after = _status(board, "large")
        board.close()
    require_equal("accounts of the small job completed", small.totals.completed, SMALL)
    done = after.totals.completed if after else 0
    return Figures("account", SMALL, reading, ("worker",)), {
        "large_accounts": large,
        "planned_ahead": planned - (before.totals.completed if before else 0),
        "large_accounts_per_second": done / max(1e-3, _seconds_of(after)),
    }


def _await_standstill(scene: Scene, processes: list[ChildProcess]) -> int:
    """Returns how many accounts of the large job are planned, once these are no more for the present."""
    plans = CompactedView(scene.kafka, scene.names.plans, PlanCheckpoint.decode)
    planned, since = 0, time.monotonic()

    def stands_still() -> bool:
        nonlocal planned, since
        plans.poll()
        found = plans.items.get("large")
        if found is not None and found.planned > planned:
            planned, since = found.planned, time.monotonic()
        return planned > 0 and time.monotonic() > since + _STILL_SECONDS

    scene.until(stands_still, "the large job's plan", processes, seconds=_PATIENCE)
    plans.close()
    return planned


def _status(board: StatusBoard, job_id: str) -> JobStatus | None:
    board.refresh()
    return board.of(job_id)


def _seconds_of(status: JobStatus | None) -> float:
    """From the large job's first outcome to its last so far."""
    if status is None or status.started_at is None:
        return 0.0
    return (status.updated_at - status.started_at).total_seconds()


def _document(source: dict[str, Any]) -> dict[str, Any]:
    return {"source": source, "storage": {"type": "parquet", "path": "unused"}}


@contextmanager
def _network(accounts: int) -> Iterator[Network]:
    """The simulated network in a thread of its own, until the block ends."""
    network = Network(seed=11, accounts=accounts, hosts=HOSTS, records=_RECORDS, spread=0)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="network", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(network.start(), loop).result()
        yield network
    finally:
        asyncio.run_coroutine_threadsafe(network.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
