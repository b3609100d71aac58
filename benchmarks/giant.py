"""One repository of two million records: does a worker read and publish it within its memory?"""

from __future__ import annotations

from typing import Any

from benchmarks.figures import Figures
from benchmarks.measure import Meter
from benchmarks.repositories import Repositories
from benchmarks.stage import Stage
from benchmarks.tally import count_messages, require_equal
from cli.console import err
from schemas.dids import DidTask

RECORDS_EACH = 2000
"""For each of the 1,000 repositories that the other scenarios have at scale 1."""


def measure(stage: Stage) -> tuple[Figures, dict[str, Any]]:
    """Figures a record. Raises LocalServerError if a record is missing or there twice."""
    giant = Repositories(stage.repositories.cache, 1, RECORDS_EACH * stage.repositories.count)
    giant.build(err.print)
    account = giant.account(0)
    with stage.network(giant.count, giant.folder) as network:
        scene = stage.scene("giant")
        names = scene.names
        spec = scene.job({"type": "parquet", "path": "unused"})
        origin = network.origins[account.host]
        task = DidTask(job_id=spec.job_id, did=account.did, pds=origin, signing_key=giant.signing_key(0))
        with scene.process("worker", "worker", "--slot", "0") as worker:
            scene.await_rest(worker, names.worker_group, names.dids)
            meter = Meter({"worker": worker.pid, "broker": stage.broker.pid, "network": network.process.pid})
            scene.publish(names.dids, [(origin, task)])
            scene.await_caught_up(worker, names.worker_group, names.dids)
            reading = meter.read()
    found = count_messages(scene, names.records)
    require_equal("records and sync markers published", found, (giant.records, 1))
    return Figures("record", giant.records, reading, ("worker",)), {"car_bytes": len(giant.car(0))}
