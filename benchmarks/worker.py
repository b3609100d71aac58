"""The fetch worker alone: from tasks in `dids` to everything committed, one process, hosts on loopback."""

from __future__ import annotations

from typing import Any

from benchmarks.figures import Figures
from benchmarks.measure import Meter
from benchmarks.parts import parts
from benchmarks.stage import Stage
from benchmarks.tally import count_messages, require_equal
from schemas.dids import DidTask


def measure(stage: Stage) -> tuple[Figures, dict[str, Any]]:
    """Figures a record. Raises LocalServerError if a record is missing or there twice."""
    repositories = stage.repositories
    with stage.network(repositories.count, repositories.folder) as network:
        scene = stage.scene("worker")
        names = scene.names
        spec = scene.job({"type": "parquet", "path": "unused"})
        tasks = [
            (origin, DidTask(job_id=spec.job_id, did=account.did, pds=origin, signing_key=key))
            for number in range(repositories.count)
            for account, key in [(repositories.account(number), repositories.signing_key(number))]
            for origin in [network.origins[account.host]]
        ]
        with scene.process("worker", "worker", "--slot", "0") as worker:
            scene.await_rest(worker, names.worker_group, names.dids)
            meter = Meter({"worker": worker.pid, "broker": stage.broker.pid, "network": network.process.pid})
            scene.publish(names.dids, tasks)
            scene.await_caught_up(worker, names.worker_group, names.dids)
            reading = meter.read()
    found = count_messages(scene, names.records)
    require_equal("records and sync markers published", found, (repositories.records, repositories.count))
    return Figures("record", repositories.records, reading, ("worker",)), {"parts": parts(repositories, spec)}
