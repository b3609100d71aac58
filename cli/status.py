"""`skyfill status`: how a job stands, once or until it has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from cli.backend import Api, Jobs, Standing, Token, opened, unknown
from cli.console import canvas, err, out
from cli.jobs import jobs as list_jobs
from cli.logs import log_nothing
from cli.settings import Data
from cli.standing import print_standing, status_line, status_with_reasons
from cli.summary import exit_code
from cli.watch import WatchDisplay, rates_text
from schemas.errors import ConfigError

_WATCH_SECONDS = 1.0


def status(
    job_id: Annotated[str | None, typer.Argument(help="The job's id; all jobs without one.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until the job has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each change.")] = False,
    api: Api = None,
    token: Token = None,
    data: Data = None,
) -> None:
    """Show how a job stands. Exit code, once it has ended: 0 complete, 2 partial, 1 error or cancelled."""
    log_nothing()
    if job_id is None:
        if watch or as_json:
            raise ConfigError("--watch and --json are about one job; name it")
        list_jobs(api=api, token=token, data=data)
        return
    with opened(api, token, data) as jobs:
        known = jobs.standing(job_id, detailed=not as_json)
        if known is None:
            if not watch:
                raise unknown(job_id)
            err.print(f"no job {job_id} yet; waiting for it")
        if as_json:
            known = _follow(jobs, job_id, known, _tell_json, watch)
        elif not watch or (known is not None and known.status.final):
            assert known is not None
            print_standing(out, status_line(known.status), known)
        elif out.is_terminal and canvas.is_terminal:
            known = _draw(jobs, job_id, known)
        else:
            known = _follow(jobs, job_id, known, _tell_line, watch)
    raise typer.Exit(exit_code(known.status) if known.status.final else 0)


def _follow(
    jobs: Jobs, job_id: str, known: Standing | None, tell: Callable[[Standing], None], watch: bool
) -> Standing:
    """Tells of the job as it is; with `watch`, of each change until it has ended."""
    if known is not None:
        tell(known)
    while known is None or (watch and not known.status.final):
        jobs.wait(_WATCH_SECONDS)
        found = jobs.standing(job_id, detailed=tell is not _tell_json)
        if found is not None and (known is None or found.status != known.status):
            tell(found)
            known = found
    return known


def _draw(jobs: Jobs, job_id: str, known: Standing | None) -> Standing:
    """The same in place, with rates."""
    with WatchDisplay(canvas) as display:
        while known is None or not known.status.final:
            if known is not None:
                display.show(known)
            jobs.wait(_WATCH_SECONDS)
            known = jobs.standing(job_id, detailed=True) or known
    print_standing(out, status_line(known.status), known)
    return known


def _tell_json(standing: Standing) -> None:
    out.print(standing.status.model_dump_json())


def _tell_line(standing: Standing) -> None:
    more = rates_text(standing.status, standing.rates)
    line = status_with_reasons(standing.status)
    out.print(f"{line}; {more}" if more else line)
