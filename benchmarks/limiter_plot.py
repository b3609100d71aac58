"""The limiter's table as a picture: requests over time, what the hosts allow, and every 429."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.limiter import WINDOW, Result, budgets

_COLUMNS = 2
_BLUE, _ORANGE, _RED, _GREY = "#1f6fb4", "#e08a1e", "#c62828", "#888888"
_LINES = (_BLUE, _ORANGE)


def draw(results: Sequence[Result], path: Path) -> None:
    """Writes it to `path`, the same bytes for the same results."""
    mpl.rcParams |= {"svg.hashsalt": "skyfill", "svg.fonttype": "none", "font.size": 9}
    rows = -(-len(results) // _COLUMNS)
    figure = Figure(figsize=(11, 2.9 * rows), layout="constrained")
    for axes, result in zip_longest(figure.subplots(rows, _COLUMNS).flat, results):
        if result is None:
            axes.set_axis_off()
        else:
            _draw_host(axes, result)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_host(axes: Axes, result: Result) -> None:
    for (kinds, limit), colour in zip(budgets(result.scenario), _LINES, strict=False):
        times = [t for t, kind, _, taken in result.log.requests if taken and (not kinds or kind in kinds)]
        name = " and ".join(kinds) or "all requests"
        # Every fiftieth request shows as much, in a twentieth of the bytes.
        axes.plot(_minutes(times[::50]), range(1, len(times) + 1, 50), color=colour, lw=1.4, label=name)
        end = result.log.requests[-1][0]
        axes.plot(
            [0, end / 60], [limit, limit + limit * end / WINDOW], color=colour, lw=0.8, ls=":",
            label=f"its budget: {limit:,} in 5 min",
        )  # fmt: skip
    refused = [t for t, *_, taken in result.log.requests if not taken]
    bottom = -0.035 * axes.get_ylim()[1]
    label = f"429s: {len(refused)} of {len(result.log.requests):,}"
    axes.plot(_minutes(refused), [bottom] * len(refused), "|", color=_RED, ms=8, mew=1.2, label=label)
    if result.scenario.learning:
        axes.axvspan(0, result.begin / 60, color=_GREY, alpha=0.12, lw=0, label="learning")
    axes.set_title(f"{result.scenario.name}; the job allows {result.scenario.rate:g} a second", fontsize=9)
    axes.set_xlabel("minutes")
    axes.set_ylabel("requests taken")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.legend(fontsize=7.5, loc="upper left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)


def _minutes(times: Sequence[float]) -> list[float]:
    return [time / 60 for time in times]
