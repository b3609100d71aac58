"""The results as a table for people, with the floor that every figure is held against."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from benchmarks.figures import Figures
from cli.console import table


def results_table(
    figures: dict[str, Figures], floors: dict[str, float], calibration: dict[str, Any]
) -> Table:
    """One line a scenario, the calibration last."""
    made = table(
        "",
        "count",
        "of",
        "seconds",
        "per second",
        "CPU us each",
        "x floor",
        "broker us",
        "peak MB",
        numbers=True,
    )
    for name, found in figures.items():
        made.add_row(
            name,
            f"{found.count:,}",
            f"{found.unit}s",
            f"{found.reading.wall_seconds:.1f}",
            f"{found.per_second:,.0f}",
            f"{found.cpu_us:.1f}",
            f"{found.cpu_us / floors[name]:.1f}",
            f"{found.beside('broker'):.1f}",
            f"{found.peak_rss_mb:.0f}",
        )
    made.add_row(
        "calibration (floor)",
        f"{calibration['records']:,}",
        "records",
        "",
        "",
        f"{calibration['cpu_us_per_record']:.1f}",
        "1.0",
        f"{calibration['broker_cpu_us_per_record']:.1f}",
        "",
    )
    return made
