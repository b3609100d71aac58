"""`skyfill start`, `produce`, `plan`, `cancel`, `pause`, `resume`, `jobs`, `report`: jobs of a deployment."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
import yaml

from cli.backend import Action, Api, ChosenJobs, Token, Wanted, opened
from cli.console import err, out, table
from cli.logs import log_nothing, log_to_stderr
from cli.moments import moment
from cli.settings import Data, connected_settings
from cli.signals import stop_on_signals
from cli.told import print_estimate, print_report
from schemas.document import load_document
from schemas.errors import ConfigError
from schemas.job_status import Status

JobId = Annotated[str, typer.Argument(help="The job's id.")]
Config = Annotated[Path | None, typer.Argument(help="The YAML document of the job.")]
ConfigName = Annotated[
    str | None, typer.Option("--config-name", help="Take this stored config instead of a document.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="With --config-name: another value of this key, such as processing.max_retries=5.",
    ),
]
ChosenId = Annotated[
    str | None, typer.Option("--id", show_default="made from the document", help="The job's id.")
]


def start(
    config: Config = None,
    config_name: ConfigName = None,
    changes: Changes = None,
    job_id: ChosenId = None,
    api: Api = None,
    token: Token = None,
    data: Data = None,
) -> None:
    """Submit a job to a running deployment and return; the same document twice is one job.

    A stored config makes a new job each time. Through the API, relative paths are taken from its folder.
    """
    log_nothing()
    wanted = _wanted(config, config_name, changes)
    with opened(api, token, data) as jobs:
        out.print(jobs.start(wanted, job_id))


def produce(
    config: Annotated[Path, typer.Argument(help="The YAML document of the job.")],
    job_id: ChosenId = None,
    data: Data = None,
) -> None:
    """Submit a job and plan it here, in the foreground, until all its tasks are published."""
    from cli.kafka_jobs import KafkaJobs
    from producers.run import run_planner  # it brings the network clients along

    wanted, settings = _wanted(config, None, None), connected_settings(data)
    log_to_stderr(settings)
    chosen = KafkaJobs(settings).start(wanted, job_id)
    stop = stop_on_signals()
    run_planner(settings, stop, only_job=chosen, until_planned=True)
    if stop.is_set():
        err.print(f"Stopped. Run the same command again to go on with {chosen} where it stopped.")
        raise typer.Exit(1)
    out.print(chosen)


def plan(
    config: Config = None,
    config_name: ConfigName = None,
    changes: Changes = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    api: Api = None,
    token: Token = None,
    data: Data = None,
) -> None:
    """Say what a job would take, and start nothing: accounts, requests, bytes, records and time."""
    log_nothing()
    wanted = _wanted(config, config_name, changes)
    with opened(api, token, data) as jobs:
        found = jobs.plan(wanted)
    if as_json:
        out.print(found.model_dump_json())
    else:
        print_estimate(out, found)


def cancel(
    job_id: JobId,
    force: Annotated[
        bool, typer.Option("--force", help="The job has ended at once, whatever is still under way.")
    ] = False,
    api: Api = None,
    token: Token = None,
    data: Data = None,
) -> None:
    """Cancel a job: accounts not fetched yet are given up, what was fetched stays."""
    _turn(job_id, "cancel", api, token, data, force=force)


def pause(job_id: JobId, api: Api = None, token: Token = None, data: Data = None) -> None:
    """Pause a job: downloads under way end, no new ones begin."""
    _turn(job_id, "pause", api, token, data)


def resume(job_id: JobId, api: Api = None, token: Token = None, data: Data = None) -> None:
    """Let a paused job go on."""
    _turn(job_id, "resume", api, token, data)


def jobs(
    statuses: Annotated[
        list[str] | None, typer.Option("--status", help="Only these; may be given several times.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Only those whose name or id has this.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", help="Only those submitted since then: 6h, 2d, 2026-01-31, an instant."),
    ] = None,
    as_lines: Annotated[bool, typer.Option("--json", help="Print JSON, one line a job.")] = False,
    api: Api = None,
    token: Token = None,
    data: Data = None,
) -> None:
    """List jobs, the newest last."""
    log_nothing()
    begin = moment(since, datetime.now(UTC)) if since else None
    chosen = ChosenJobs(_statuses(statuses or []), name, begin)
    with opened(api, token, data) as backend:
        lines = backend.lines(chosen)
    if as_lines:
        for job in lines:
            out.print(job.model_dump_json())
        return
    shown = table("job", "status", "accounts", "records", "submitted (UTC)")
    for job in lines:
        submitted = job.submitted_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if job.submitted_at else ""
        status = f"{job.status}, stale" if job.stale_since else job.status
        shown.add_row(job.job_id, status, f"{job.ended:,} of {job.total:,}", f"{job.records:,}", submitted)
    out.print(shown)


def report(
    job_id: JobId,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every host.")] = False,
    api: Api = None,
    token: Token = None,
    data: Data = None,
) -> None:
    """Account for every account of a job: done, unavailable and why, failed and how; by host, too."""
    log_nothing()
    with opened(api, token, data) as backend:
        found = backend.report(job_id)
    if as_json:
        out.print(found.model_dump_json())
    else:
        print_report(out, found)


def _turn(
    job_id: str, action: Action, api: str | None, token: str | None, data: Path | None, *, force: bool = False
) -> None:
    log_nothing()
    with opened(api, token, data) as backend:
        backend.turn(job_id, action, force=force)
    out.print(f"{action} sent for {job_id}")


def _wanted(config: Path | None, config_name: str | None, changes: list[str] | None) -> Wanted:
    if (config is None) == (config_name is None):
        raise ConfigError("name a document, or a stored config with --config-name; one of the two")
    if config is not None:
        if changes:
            raise ConfigError("--set belongs to --config-name; a document is edited instead")
        return Wanted(load_document(config))
    return Wanted(config=config_name, overrides=overrides_of(changes or []))


def overrides_of(changes: list[str]) -> dict[str, Any]:
    """`a.b=1` and `a.c=x` as one mapping of mappings. ConfigError for what is no assignment."""
    made: dict[str, Any] = {}
    for change in changes:
        key, given, text = change.partition("=")
        parts = key.strip().removeprefix("backfill.").split(".")
        if not given or not all(parts):
            raise ConfigError("--set takes KEY=VALUE, such as --set processing.max_retries=5")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {key}: its value is not valid YAML") from error
        place = made
        for part in parts[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {key}: {part} has a value of its own already")
        place[parts[-1]] = value
    return made


def _statuses(names: list[str]) -> frozenset[Status]:
    known = get_args(Status)
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no status {name!r}; there are {', '.join(known)}")
    return frozenset(names)  # type: ignore[arg-type]
