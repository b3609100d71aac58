"""`skyfill start`, `status`, `jobs`, `cancel`, `pause`, `resume`, `produce`: jobs of a running deployment."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from cli.connect import connected_settings
from cli.console import configure_logging, err, out, stop_on_signals
from cli.run import Data
from local.one_shot import job_id_of
from messaging.control import StatusBoard, send_command
from producers.run import run_planner
from schemas.document import load_document
from schemas.errors import ConfigError
from schemas.job_status import JobStatus
from schemas.jobs import JobMessage
from schemas.settings import Settings

JobId = Annotated[str, typer.Argument(help="The job's id.")]
Config = Annotated[Path, typer.Argument(help="The YAML document of the job.")]
ChosenId = Annotated[str | None, typer.Option("--id", help="The job's id [made from the document].")]
_WATCH_SECONDS = 1.0


def start(config: Config, job_id: ChosenId = None, data: Data = None) -> None:
    """Submit a job to a running deployment and return; the same document twice is one job."""
    settings = connected_settings(data)
    out.print(_submit(settings, config, job_id))


def produce(config: Config, job_id: ChosenId = None, data: Data = None) -> None:
    """Submit a job and plan it here, in the foreground, until all its tasks are published."""
    settings = connected_settings(data)
    configure_logging(settings)
    chosen = _submit(settings, config, job_id)
    run_planner(settings, stop_on_signals(), only_job=chosen, until_planned=True)
    out.print(chosen)


def cancel(job_id: JobId, data: Data = None) -> None:
    """Cancel a job: accounts not fetched yet are given up, what was fetched stays."""
    _command(job_id, "cancel", data)


def pause(job_id: JobId, data: Data = None) -> None:
    """Pause a job: downloads under way end, no new ones begin."""
    _command(job_id, "pause", data)


def resume(job_id: JobId, data: Data = None) -> None:
    """Let a paused job go on."""
    _command(job_id, "resume", data)


def jobs(data: Data = None) -> None:
    """List all jobs."""
    board = StatusBoard(connected_settings(data).kafka)
    table = Table("job", "status", "accounts", "records", "submitted", box=None)
    for job in board.all():
        submitted = job.submitted_at.strftime("%Y-%m-%d %H:%M:%S") if job.submitted_at else ""
        accounts = f"{job.totals.terminal:,} of {job.total:,}"
        table.add_row(job.job_id, job.status, accounts, f"{job.totals.records:,}", submitted)
    out.print(table)


def status(
    job_id: Annotated[str | None, typer.Argument(help="The job's id; all jobs without one.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until the job has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Data = None,
) -> None:
    """Show how a job stands. Exit code, once it has ended: 0 complete, 2 partial, 1 error."""
    if job_id is None:
        jobs(data)
        return
    board = StatusBoard(connected_settings(data).kafka)
    if watch and board.of(job_id) is None:
        err.print(f"no job {job_id} yet; waiting for it", markup=False)
    while True:
        known = board.of(job_id)
        if known is not None:
            out.print_json(known.model_dump_json()) if as_json else out.print(_line(known))
        elif not watch:
            raise ConfigError(f"there is no job {job_id}; `skyfill jobs` lists those there are")
        if not watch or (known is not None and known.final):
            break
        board.refresh(_WATCH_SECONDS)
        time.sleep(_WATCH_SECONDS)
    code = {"complete": 0, "partial_success": 2, "error": 1}.get(known.status, 0) if known else 0
    raise typer.Exit(code)


def _line(job: JobStatus) -> str:
    totals = job.totals
    planned = f"{job.total:,}" if job.plan_finished else f"{job.total:,}+"
    text = (
        f"{job.job_id}: {job.status}, {totals.terminal:,} of {planned} accounts "
        f"({totals.completed:,} completed, {totals.unavailable:,} unavailable, {totals.failed:,} failed, "
        f"{totals.retrying:,} retrying), {totals.records:,} records"
    )
    return f"{text}; {job.detail}" if job.detail else text


def _submit(settings: Settings, config: Path, job_id: str | None) -> str:
    backfill = load_document(config).absolute(Path.cwd())
    chosen = job_id or job_id_of(backfill)
    document = json.loads(backfill.model_dump_json())
    send_command(settings.kafka, chosen, JobMessage(action="start", backfill=document))
    return chosen


def _command(job_id: str, action: Literal["cancel", "pause", "resume"], data: Path | None) -> None:
    kafka = connected_settings(data).kafka
    if StatusBoard(kafka).of(job_id) is None:
        raise ConfigError(f"there is no job {job_id}; `skyfill jobs` lists those there are")
    send_command(kafka, job_id, JobMessage(action=action))
    out.print(f"{action} sent for {job_id}", markup=False)
