"""`skyfill plc`: a mirror of the PLC directory on this machine, for sources that name millions of DIDs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live

from cli.console import canvas, err, out, table
from cli.logs import log_nothing
from cli.settings import Data, data_settings
from cli.signals import run_until_signal
from schemas.errors import ConfigError
from schemas.settings import Settings
from schemas.words import span

if TYPE_CHECKING:
    from atp.plc import Position
    from atp.plc_mirror import Status
    from atp.plc_sync import Progress

app = typer.Typer(
    no_args_is_help=True, help="A mirror of the PLC directory, so that jobs need not ask it for each account."
)
_LINE_SECONDS = 5.0
_FAR_SECONDS = 86_400.0


@app.command("sync")
def sync(
    follow: Annotated[
        bool, typer.Option("--follow/--once", help="Go on with what is new, until Ctrl-C; or end there.")
    ] = False,
    data: Data = None,
) -> None:
    """Read the directory's log into the mirror, from where it ends. Jobs may start meanwhile.

    The first time, for the whole network, takes about 15 hours at the limit that plc.directory sets (500
    requests of 1,000 operations in 5 minutes), or start from a file with `skyfill plc import`. Interrupted in
    whatever way, the same command goes on where it stopped. Jobs ask the directory for each account until the
    mirror is within 30 days of the log's end, and the mirror from then on.
    """
    log_nothing()
    settings = data_settings(data)
    farewell = f"stopped; the same command goes on. The mirror: {settings.plc_mirror}"
    run_until_signal(_sync(settings, follow), farewell, code=0 if follow else None)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Lines of a directory's /export: plain, .gz or .zst.")],
    follows: Annotated[
        bool, typer.Option("--follows", help="Nothing lies between the mirror's end and the file's begin.")
    ] = False,
    data: Data = None,
) -> None:
    """Read a file of the directory's log into the mirror. `skyfill plc sync` then goes on where it ends."""
    from atp.plc import moment
    from atp.plc_import import import_file
    from atp.plc_writer import MirrorWriter

    log_nothing()
    settings = data_settings(data)
    shown_at = time.monotonic()

    def tell(count: int, position: Position) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at > _LINE_SECONDS:
            shown_at = time.monotonic()
            err.print(f"{count:,} operations, at {moment(position.created)}")

    with MirrorWriter(settings.plc_mirror, settings.network.plc_url) as mirror:
        new, held = import_file(mirror, file, follows=follows, tell=tell)
    out.print(f"{file}: {new:,} operations read, {held:,} were there. The mirror: {settings.plc_mirror}")


@app.command("status")
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON; null is unknown.")] = False,
    data: Data = None,
) -> None:
    """Show how far the mirror is, how old and how large."""
    from atp.plc_mirror import PlcMirror

    log_nothing()
    path = data_settings(data).plc_mirror
    with PlcMirror(path) as mirror:
        found, age = mirror.status(), mirror.age()
    if as_json:
        out.print(json.dumps(_as_json(path, found, age)))
        return
    shown = table("", "")
    for name, value in _described(path, found, age):
        shown.add_row(name, value)
    out.print(shown)


@app.command("show")
def show(
    did: Annotated[str, typer.Argument(help="A did:plc.")],
    data: Data = None,
) -> None:
    """Show what the mirror holds of a DID."""
    from atp.identity import Identity
    from atp.plc import is_plc, moment
    from atp.plc_mirror import PlcMirror

    log_nothing()
    if not is_plc(did):
        raise ConfigError(f"{did[:300]!r} is no did:plc; the PLC directory knows no other")
    path = data_settings(data).plc_mirror
    with PlcMirror(path) as mirror:
        held = dict(mirror.entries([did])).get(did)
    if held is None:
        raise ConfigError(f"{did} is not in the mirror {path}; `skyfill plc status` tells how far it is")
    shown = table("", "")
    if isinstance(held.answer, Identity):
        rows = [("handle", held.answer.handle or "none"), ("PDS", held.answer.pds)]
        rows.append(("signing key", held.answer.signing_key))
    else:
        rows = [("", str(held.answer or "its last operation is of a kind that is not known here"))]
    number = "" if held.seq is None else f"number {held.seq:,}, "
    for name, value in [("DID", did), *rows, ("last operation", number + moment(held.created))]:
        shown.add_row(name, value)
    out.print(shown)


async def _sync(settings: Settings, follow: bool) -> None:
    from atp.plc_sync import PlcSync
    from atp.plc_writer import MirrorWriter
    from atp.xrpc import Client

    network = settings.network
    with MirrorWriter(settings.plc_mirror, network.plc_url) as mirror, _Display() as display:
        age = mirror.age()
        if age is None:
            err.print(
                "The first sync of the whole network takes about 15 hours at plc.directory's limit. Jobs may "
                "start meanwhile: they ask the directory until the mirror is nearly complete. Ctrl-C stops, "
                "and the same command goes on."
            )
        async with Client(user_agent=network.user_agent) as client:
            syncing = PlcSync(mirror, client, per_second=network.plc_requests_per_second, tell=display.show)
            if age is None or age > _FAR_SECONDS:
                await syncing.estimate()
            done = await syncing.run(follow=follow)
        found = mirror.status()
    out.print(f"caught up: {done.operations:,} operations read; {found.dids:,} DIDs in {settings.plc_mirror}")


class _Display:
    """Progress: drawn in place on a terminal, a line every few seconds elsewhere."""

    def __init__(self) -> None:
        self._live = Live(console=canvas, auto_refresh=False, transient=True) if canvas.is_terminal else None
        self._line_at = 0.0

    def __enter__(self) -> _Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        line = progress_line(progress)
        now = time.monotonic()
        if self._live:
            self._live.update(line, refresh=True)
        elif now - self._line_at > _LINE_SECONDS or progress.trouble:
            self._line_at = now
            err.print(line)


def progress_line(progress: Progress) -> str:
    """How a sync goes, on a line."""
    from atp.plc import moment

    parts = [f"{progress.operations:,} operations"]
    if progress.per_second:
        parts.append(f"{progress.per_second:,.0f}/s")
    if progress.position is not None:
        parts.append(f"at {moment(progress.position.created)}")
    if progress.caught_up:
        parts.append("caught up")
    elif progress.left is not None:
        parts.append(f"about {span(progress.left)} left")
    if progress.trouble:
        parts.append(f"trying again: {progress.trouble}")
    return ", ".join(parts)


def _described(path: Path, found: Status, age: float | None) -> list[tuple[str, str]]:
    from atp.plc import moment

    position = found.position
    at = "empty"
    if position is not None:
        number = "by time" if position.seq is None else f"operation {position.seq:,}"
        at = f"{number}, {moment(position.created)}"
    return [
        ("mirror", str(path)),
        ("of", found.directory),
        ("operations read", f"{found.operations:,}"),
        ("DIDs", f"{found.dids:,}"),
        ("position", at),
        ("age", _aged(age)),
        ("caught up", "never" if found.caught_up is None else moment(int(found.caught_up * 1000))),
        ("size", f"{found.size / 2**20:,.1f} MiB"),
    ]


def _aged(age: float | None) -> str:
    from atp.plc_mirror import MOST_AGE

    if age is None:
        return "empty: it is not asked"
    return f"{span(age)}: too old to be asked, run `skyfill plc sync`" if age > MOST_AGE else span(age)


def _as_json(path: Path, found: Status, age: float | None) -> dict[str, object]:
    position = found.position
    return {
        "mirror": str(path),
        "directory": found.directory,
        "operations": found.operations,
        "dids": found.dids,
        "seq": position.seq if position else None,
        "created_ms": position.created if position else None,
        "age_seconds": age,
        "caught_up": found.caught_up,
        "bytes": found.size,
    }
