"""A whole deployment, as `skyfill up` and `run` start it: from a job's command to the last row stored.

Planner, tracker, two workers and the Parquet sink, under their supervisor, on the benchmarks' broker.
"""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.figures import Figures
from benchmarks.measure import Meter, Reading
from benchmarks.repositories import Repositories
from benchmarks.sink_parquet import count_rows
from benchmarks.stage import Scene, Stage
from benchmarks.tally import require_equal
from local.deployment import Deployment
from local.process import ChildProcess
from messaging.control import SinkPositions, StatusBoard, send_command
from schemas.job_status import JobStatus
from schemas.jobs import JobMessage

_WORKERS = 2
_JOB = "bench"
_BESIDE = ("broker", "network")


def measure(stage: Stage) -> tuple[Figures, dict[str, Any]]:
    """Figures a record. LocalServerError if rows are missing or there twice, or a process had to restart."""
    repositories = stage.repositories
    with stage.network(repositories.count, repositories.folder) as network:
        scene = stage.scene("end_to_end", plc_url=network.origins[0])
        scene.write_source(repositories.account(number).did for number in range(repositories.count))
        reading = asyncio.run(
            _deployed(scene, repositories, {"broker": stage.broker, "network": network.process})
        )
    rows, files = count_rows(scene.settings.data_dir / "out")
    require_equal("rows stored", rows, repositories.records)
    processes = tuple(name for name in reading.usage if name not in _BESIDE)
    return Figures("record", rows, reading, processes), {"files": files}


async def _deployed(scene: Scene, repositories: Repositories, beside: dict[str, ChildProcess]) -> Reading:
    deployment = Deployment(scene.settings, workers=_WORKERS, sinks=["parquet"])
    try:
        await deployment.start_servers()
        deployment.start_processes()
        watching = asyncio.create_task(deployment.watch())
        working = asyncio.create_task(asyncio.to_thread(_work, scene, repositories, beside, deployment))
        await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            watching.result()  # raises what can't be mended
        watching.cancel()
        return await working
    finally:
        await deployment.stop()


def _work(
    scene: Scene, repositories: Repositories, beside: dict[str, ChildProcess], deployment: Deployment
) -> Reading:
    assert deployment.supervisor is not None
    processes = {one.role.name: one.process for one in deployment.supervisor.running}
    _await_rest(scene, processes)
    board, sinks = StatusBoard(scene.kafka), SinkPositions(scene.kafka)
    document = {
        "source": {"type": "file", "path": str(scene.settings.data_dir / "dids.txt")},
        "processing": {"requests_per_second": 10_000},
        "storage": {"type": "parquet", "path": str(scene.settings.data_dir / "out")},
    }
    meter = Meter({name: process.pid for name, process in (processes | beside).items()})
    send_command(scene.kafka, _JOB, JobMessage(action="start", backfill=document))
    alive = list(processes.values())  # one that ended would be started again, and spoil the figures

    def ended() -> JobStatus | None:
        board.refresh()
        known = board.of(_JOB)
        return known if known and known.final else None

    status = scene.until(ended, "the end of the job", alive)
    ends = sinks.ends()
    scene.until(lambda: sinks.behind("parquet", ends) == 0, "the sink to store all", alive)
    reading = meter.read()
    board.close()
    require_equal("restarts of processes", deployment.supervisor.restarts(), 0)
    require_equal("the job's status", status.status, "complete")
    require_equal("records counted by the tracker", status.totals.records, repositories.records)
    return reading


def _await_rest(scene: Scene, processes: dict[str, ChildProcess]) -> None:
    names = scene.names
    scene.await_rest(processes["producer"], names.planner_group, names.jobs)
    scene.await_rest(processes["tracker"], names.tracker_group, names.outcomes)
    scene.await_rest(processes["sink-parquet"], names.sink_group("parquet"), names.records)
    for slot in range(_WORKERS):
        scene.await_rest(processes[f"worker-{slot}"], names.worker_group, names.dids, members=_WORKERS)
