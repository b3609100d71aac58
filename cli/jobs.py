"""`skyfill start`, `status`, `jobs`, `cancel`, `pause`, `resume`, `produce`: jobs of a running deployment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.console import canvas, err, out, table
from cli.logs import log_nothing, log_to_stderr
from cli.settings import Data, connected_settings
from cli.signals import stop_on_signals
from cli.summary import exit_code, left_out_text
from cli.watch import WatchDisplay, rates_text
from messaging.control import StatusBoard, send_command
from messaging.rates_board import RatesBoard
from schemas.document import load_document
from schemas.errors import ConfigError
from schemas.job_status import JobStatus
from schemas.jobs import JobMessage
from schemas.settings import KafkaSettings, Settings

JobId = Annotated[str, typer.Argument(help="The job's id.")]
Config = Annotated[Path, typer.Argument(help="The YAML document of the job.")]
ChosenId = Annotated[
    str | None, typer.Option("--id", show_default="made from the document", help="The job's id.")
]
_WATCH_SECONDS = 1.0


def start(config: Config, job_id: ChosenId = None, data: Data = None) -> None:
    """Submit a job to a running deployment and return; the same document twice is one job."""
    log_nothing()
    out.print(_submit(connected_settings(data), config, job_id))


def produce(config: Config, job_id: ChosenId = None, data: Data = None) -> None:
    """Submit a job and plan it here, in the foreground, until all its tasks are published."""
    from producers.run import run_planner  # it brings the network clients along

    settings = connected_settings(data)
    log_to_stderr(settings)
    chosen = _submit(settings, config, job_id)
    stop = stop_on_signals()
    run_planner(settings, stop, only_job=chosen, until_planned=True)
    if stop.is_set():
        err.print(f"Stopped. Run the same command again to go on with {chosen} where it stopped.")
        raise typer.Exit(1)
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
    log_nothing()
    board = StatusBoard(connected_settings(data).kafka)
    shown = table("job", "status", "accounts", "records", "submitted (UTC)")
    for job in board.all():
        submitted = job.submitted_at.strftime("%Y-%m-%d %H:%M:%S") if job.submitted_at else ""
        accounts = f"{job.totals.terminal:,} of {job.total:,}"
        shown.add_row(job.job_id, job.status, accounts, f"{job.totals.records:,}", submitted)
    out.print(shown)


def status(
    job_id: Annotated[str | None, typer.Argument(help="The job's id; all jobs without one.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until the job has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each change.")] = False,
    data: Data = None,
) -> None:
    """Show how a job stands. Exit code, once it has ended: 0 complete, 2 partial, 1 error or cancelled."""
    log_nothing()
    if job_id is None:
        if watch or as_json:
            raise ConfigError("--watch and --json are about one job; name it")
        jobs(data)
        return
    kafka = connected_settings(data).kafka
    board = StatusBoard(kafka)
    known = board.of(job_id)
    if known is None:
        if not watch:
            raise ConfigError(f"there is no job {job_id}; `skyfill jobs` lists those there are")
        err.print(f"no job {job_id} yet; waiting for it")
    if not watch or (known is not None and known.final):
        assert known is not None
        _tell(known, as_json)
    elif as_json:
        known = _follow(board, job_id, known, lambda job: _tell(job, as_json=True))
    else:
        known = _watch(kafka, board, job_id, known)
    raise typer.Exit(exit_code(known) if known is not None and known.final else 0)


def _follow(
    board: StatusBoard, job_id: str, known: JobStatus | None, tell: Callable[[JobStatus], None]
) -> JobStatus:
    """Tells of each change until the job has ended."""
    if known is not None:
        tell(known)
    while known is None or not known.final:
        board.refresh(_WATCH_SECONDS)
        if (found := board.of(job_id)) is not None and found != known:
            known = found
            tell(known)
    return known


def _watch(kafka: KafkaSettings, board: StatusBoard, job_id: str, known: JobStatus | None) -> JobStatus:
    """The same with rates: drawn in place on a terminal, lines elsewhere."""
    rates = RatesBoard(kafka)

    def line(job: JobStatus) -> None:
        rates.refresh()
        more = rates_text(job, rates.of(job_id))
        out.print(f"{_line(job)}; {more}" if more else _line(job))

    if not (out.is_terminal and canvas.is_terminal):
        return _follow(board, job_id, known, line)
    with WatchDisplay(canvas) as display:
        while known is None or not known.final:
            rates.refresh()
            if known is not None:
                display.show(known, rates.of(job_id))
            board.refresh(_WATCH_SECONDS)
            known = board.of(job_id)
    _tell(known, as_json=False)
    return known


def _tell(job: JobStatus, as_json: bool) -> None:
    out.print(job.model_dump_json() if as_json else _line(job))


def _line(job: JobStatus) -> str:
    totals = job.totals
    planned = f"{job.total:,}" if job.plan_finished else f"{job.total:,}+"
    text = (
        f"{job.job_id}: {job.status}, {totals.terminal:,} of {planned} accounts "
        f"({totals.completed:,} completed, {totals.unavailable:,} unavailable, {totals.failed:,} failed, "
        f"{totals.retrying:,} retrying), {totals.records:,} records"
    )
    if job.replaying:
        text += f"; {job.replaying:,} of those that failed are being tried again"
    return "; ".join(part for part in (text, left_out_text(job), job.detail) if part)


def _submit(settings: Settings, config: Path, job_id: str | None) -> str:
    from local.one_shot import job_id_of
    from producers.commands import is_job_id

    backfill = load_document(config).absolute(Path.cwd())
    chosen = job_id or job_id_of(backfill)
    if not is_job_id(chosen):
        raise ConfigError(
            f"{chosen!r} can't name a job: letters, digits, `.`, `_` and `-`, the first a letter or digit"
        )
    document = backfill.model_dump(mode="json")
    send_command(settings.kafka, chosen, JobMessage(action="start", backfill=document))
    return chosen


def _command(job_id: str, action: Literal["cancel", "pause", "resume"], data: Path | None) -> None:
    log_nothing()
    kafka = connected_settings(data).kafka
    known = StatusBoard(kafka).of(job_id)
    if known is None:
        raise ConfigError(f"there is no job {job_id}; `skyfill jobs` lists those there are")
    if known.final:
        raise ConfigError(f"job {job_id} has ended ({known.status}); there is nothing to {action}")
    send_command(kafka, job_id, JobMessage(action=action))
    out.print(f"{action} sent for {job_id}")
