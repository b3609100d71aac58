"""The commands, put together. Errors that a user can mend are told in words, never as a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import KafkaException

from cli import config, configs, deadletter, demo, jobs, lag, plc, processes, run, status, tokens, topics, up
from cli.console import err, tell_error
from cli.signals import Interrupted
from schemas.errors import SkyfillError
from schemas.settings import SETTINGS_FILE

app = typer.Typer(
    name="skyfill",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Backfill AT Protocol (Bluesky) repositories through Kafka, verified and exactly once.",
)

_ONE_MACHINE, _DEPLOYMENT, _PROCESSES = "On this machine", "A running deployment", "Processes"
_PANELS: dict[str, list[Callable[..., None]]] = {
    _ONE_MACHINE: [run.run, run.get, demo.demo, up.up],
    _DEPLOYMENT: [
        jobs.start,
        jobs.plan,
        status.status,
        jobs.jobs,
        jobs.report,
        jobs.cancel,
        jobs.pause,
        jobs.resume,
        jobs.produce,
        deadletter.retry,
        lag.lag,
    ],
    _PROCESSES: [
        processes.producer,
        processes.worker,
        processes.tracker,
        processes.notifier,
        processes.rates,
        processes.lag_exporter,
        processes.api,
        processes.network,
    ],
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.add_typer(processes.sink, name="sink", rich_help_panel=_PROCESSES)
app.add_typer(deadletter.app, name="deadletter", rich_help_panel=_DEPLOYMENT)
app.add_typer(configs.app, name="configs", rich_help_panel=_DEPLOYMENT)
app.add_typer(tokens.app, name="token", rich_help_panel=_DEPLOYMENT)
app.add_typer(topics.app, name="topics", rich_help_panel=_DEPLOYMENT)
app.add_typer(config.tables, name="tables", rich_help_panel=_DEPLOYMENT)
app.add_typer(config.app, name="config", rich_help_panel=_ONE_MACHINE)
app.add_typer(plc.app, name="plc", rich_help_panel=_ONE_MACHINE)


@app.callback()
def settings_file(
    settings: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="YAML file with settings of the processes."),
    ] = None,
) -> None:
    """Remembers the file for this process and those it starts."""
    if settings is not None:
        os.environ[SETTINGS_FILE] = str(settings.absolute())


def main() -> None:
    """Runs the command line. A wrong flag is exit code 1 like every error: 2 means a partial job."""
    try:
        sys.exit(app(standalone_mode=False))
    except typer.TyperException as error:
        _tell_usage(error)
    except Interrupted as interrupted:
        err.print(str(interrupted))
        sys.exit(interrupted.code)
    except SkyfillError as error:
        tell_error(str(error))
    except KafkaException as error:
        tell_error(f"Kafka: {error.args[0].str()}")
    except OSError as error:
        if error.filename is None:
            raise
        tell_error(f"{error.filename}: {error.strerror}")
    sys.exit(1)


def _tell_usage(error: typer.TyperException) -> None:
    """A group without a command has told its help already, and has no message."""
    context: typer.Context | None = getattr(error, "ctx", None)
    if message := error.format_message():
        tell_error(message + (f" See `{context.command_path} --help`." if context else ""))
