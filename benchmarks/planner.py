"""The planner alone: from a job's command to the end of its plan, every account resolved over HTTP."""

from __future__ import annotations

from typing import Any

from benchmarks.figures import Figures
from benchmarks.measure import Meter
from benchmarks.repositories import population
from benchmarks.stage import Stage
from benchmarks.tally import count_messages, require_equal
from messaging.control import send_command
from messaging.views import CompactedView
from schemas.jobs import JobMessage
from schemas.plans import PlanCheckpoint

_ACCOUNTS_A_REPOSITORY = 20
"""Accounts cost far less than repositories: so many more of them are planned."""


def measure(stage: Stage) -> tuple[Figures, dict[str, Any]]:
    """Figures a task. Raises LocalServerError if tasks are missing or there twice."""
    accounts = population(stage.repositories.count * _ACCOUNTS_A_REPOSITORY)
    with stage.network(len(accounts)) as network:
        scene = stage.scene("planner", plc_url=network.origins[0])
        names = scene.names
        scene.write_source(accounts.dids)
        document = {
            "source": {"type": "file", "path": str(scene.settings.data_dir / "dids.txt")},
            "storage": {"type": "parquet", "path": "unused"},
        }
        plans = CompactedView(scene.kafka, names.plans, PlanCheckpoint.decode)
        with scene.process("producer", "producer") as planner:
            scene.await_rest(planner, names.planner_group, names.jobs)
            meter = Meter(
                {"planner": planner.pid, "broker": stage.broker.pid, "network": network.process.pid}
            )
            send_command(scene.kafka, "bench", JobMessage(action="start", backfill=document))

            def planned() -> bool:
                plans.poll()
                return "bench" in plans.items and plans.items["bench"].finished

            scene.until(planned, "the end of the plan", [planner])
            reading = meter.read()
        plans.close()
    require_equal("accounts planned", plans.items["bench"].planned, len(accounts))
    require_equal("tasks published", count_messages(scene, names.dids)[0], len(accounts))
    return Figures("task", len(accounts), reading, ("planner",)), {}
