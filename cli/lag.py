"""`skyfill lag`: how far every group is behind, and when it will have caught up."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table

from cli.console import canvas, out, table
from cli.logs import log_nothing
from cli.settings import Data, connected_settings
from cli.signals import stop_on_signals
from messaging.lag import Lag, LagReader, by_topic
from schemas.words import span

_UNKNOWN = "unknown"
_FIRST_SECONDS = 2.0
"""A trend needs two looks."""


def lag(
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    partitions: Annotated[bool, typer.Option("--partitions", help="Show each partition.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: one line a look, every partition; null is unknown.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.5, max=300, help="Seconds between two looks.")] = 2.0,
    data: Data = None,
) -> None:
    """Show each consumer group's committed and end offsets, lag, trend and time to clear.

    The lag counts all from the committed offset on. Workers finish tasks out of order: what they have done
    beyond the commit stands beside it. `unknown` is what the broker did not tell; it is never shown as 0.
    """
    log_nothing()
    reader = LagReader(connected_settings(data).kafka)
    if not watch:
        reader.look()
        time.sleep(min(every, _FIRST_SECONDS))
        _print(reader.look(), partitions, as_json)
        return
    stop = stop_on_signals()
    if as_json or not canvas.is_terminal:
        while not stop.is_set():
            _print(reader.look(), partitions, as_json)
            stop.wait(every)
        return
    with Live(console=canvas, auto_refresh=False, transient=True) as live:
        while not stop.is_set():
            live.update(lag_table(reader.look(), partitions), refresh=True)
            stop.wait(every)


def _print(lags: list[Lag], partitions: bool, as_json: bool) -> None:
    if as_json:
        out.print(json.dumps([_as_json(lag) for lag in lags]))
    else:
        out.print(lag_table(lags, partitions))


def lag_table(lags: list[Lag], partitions: bool) -> Table:
    """A row a topic, or a row a partition."""
    figures = ("committed", "end", "lag", "beyond commit", "trend", "clear in")
    shown = table("group", "topic", "partition", *figures)
    for column in shown.columns[2:]:
        column.justify = "right"
    for one in lags if partitions else by_topic(lags):
        count = sum((lag.group, lag.topic) == (one.group, one.topic) for lag in lags)
        missing = f" + {one.unknown} {_UNKNOWN}" if one.unknown and one.lag is not None else ""
        shown.add_row(
            one.group,
            one.topic,
            f"all {count}" if one.partition is None else str(one.partition),
            _number(one.committed),
            _number(one.end),
            _number(one.lag) + missing,
            "" if one.finished_beyond is None else _number(one.finished_beyond),
            _UNKNOWN if one.trend is None else f"{one.trend:+,.1f}/s" if one.trend else "steady",
            _clears(one),
        )
    return shown


def _as_json(lag: Lag) -> dict[str, object]:
    return {
        "group": lag.group,
        "topic": lag.topic,
        "partition": lag.partition,
        "committed": lag.committed,
        "end": lag.end,
        "lag": lag.lag,
        "finished_beyond_commit": lag.finished_beyond,
        "trend_per_second": lag.trend,
        "clears_in_seconds": lag.clears_in,
    }


def _number(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}"


def _clears(lag: Lag) -> str:
    if lag.lag is None or lag.unknown:
        return _UNKNOWN
    if lag.lag == 0:
        return "caught up"
    if lag.trend is None:
        return _UNKNOWN
    return "does not fall" if lag.clears_in is None else f"about {span(lag.clears_in)}"
