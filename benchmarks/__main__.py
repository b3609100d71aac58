"""Runs the benchmarks on a broker of their own: `make bench`.

    python -m benchmarks [SCENARIO…] [--scale 0.1] [--out FILE] [--cache FOLDER]

Prints a table and writes the results as JSON. Whatever is named SKYFILL_* in the environment is left out:
figures are those of the defaults.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from benchmarks import (
    dead_hosts,
    end_to_end,
    fair_shares,
    giant,
    planner,
    sink_dynamodb,
    sink_parquet,
    sources,
    worker,
)
from benchmarks.calibration import Calibration
from benchmarks.figures import Figures
from benchmarks.machine import machine
from benchmarks.measure import require_linux
from benchmarks.report import results_table
from benchmarks.repositories import Repositories
from benchmarks.stage import Stage
from cli.console import err, out, tell_error
from schemas.errors import SkyfillError

Scenario = Callable[[Stage], tuple[Figures, dict[str, Any]]]
SCENARIOS: dict[str, Scenario] = {
    "worker": worker.measure,
    "sink_parquet": sink_parquet.measure,
    "sink_dynamodb": sink_dynamodb.measure,
    "planner": planner.measure,
    "sources": sources.measure,
    "end_to_end": end_to_end.measure,
    "giant": giant.measure,
    "dead_hosts": dead_hosts.measure,
    "fair_shares": fair_shares.measure,
}
_REPOSITORIES = 1000
_HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure speed, CPU and memory.")
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}; none: all")
    parser.add_argument(
        "--scale", type=float, default=1.0, help=f"1 is {_REPOSITORIES} repositories; 0.1 for a quick look"
    )
    parser.add_argument("--out", type=Path, default=_HERE / "results.json", help="where the results go")
    parser.add_argument("--cache", type=Path, default=_HERE / "cache", help="where repositories are kept")
    asked = parser.parse_args()
    if unknown := [name for name in asked.scenarios if name not in SCENARIOS]:
        parser.error(f"there is no scenario {unknown[0]}; there are {', '.join(SCENARIOS)}")
    if not 1 / _REPOSITORIES <= asked.scale <= 100:
        parser.error(f"--scale {asked.scale} is not between {1 / _REPOSITORIES} and 100")
    if not asked.out.absolute().parent.is_dir():
        parser.error(f"{asked.out.parent} is no folder; make it, or name another file with --out")
    return asked


def run(names: list[str], scale: float, cache: Path, folder: Path) -> dict[str, Any]:
    """Runs the scenarios one after the other; all results. Raises SkyfillError."""
    repositories = Repositories(cache, round(_REPOSITORIES * scale))
    described = machine()
    repositories.build(err.print)
    figures: dict[str, Figures] = {}
    floors: dict[str, float] = {}
    results: dict[str, Any] = {"machine": described, "scale": scale}
    with Stage.open(folder, repositories) as stage:
        calibration = Calibration(stage)
        for name in names:
            err.print(f"measuring {name}")
            floors[name] = calibration.run()
            figures[name], more = SCENARIOS[name](stage)
            ratio = figures[name].cpu_us / floors[name]
            results[name] = figures[name].as_json() | more | {"ratio_to_calibration": ratio}
    results["calibration"] = calibration.as_json()
    out.print(results_table(figures, floors, results["calibration"]))
    return results


def main() -> int:
    """The command; its exit code."""
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped and removed
    logging.basicConfig(level=logging.ERROR)  # librdkafka warns of a broker that is still starting
    for name in [name for name in os.environ if name.startswith("SKYFILL_")]:
        del os.environ[name]
    os.environ["SKYFILL_METRICS__PORT"] = "null"
    names = [name for name in SCENARIOS if name in asked.scenarios or not asked.scenarios]
    asked.cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=asked.cache, prefix="run-"))
    kept = False
    try:
        require_linux()
        results = run(names, asked.scale, asked.cache.absolute(), folder.absolute())
        asked.out.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        err.print(f"written to {asked.out}")
        return 0
    except SkyfillError as error:
        kept = True
        tell_error(f"{error}\nThe logs are kept in {folder}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
