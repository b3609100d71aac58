"""`make bench`, small, as a user runs it: does it count rightly, and does the document say what it writes?

How fast anything is decides nothing here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 280
SCALE = 0.01
REPOSITORIES, RECORDS = 10, 500
TEXTS = ("machine.date", "machine.cpu", "machine.python", "machine.kernel")
"""Keys whose values are text."""
SOURCES = ("text", "parquet", "sqlite", "s3", "relay", "hosts", "collection", "job")
MENTIONED = {"machine", "load_before", "network", "server"}
"""Words that explain keys and are none themselves."""


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, from the repository's root."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of the results that is no mapping, by its key as the document writes it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    else:
        yield path, value


def documented() -> set[str]:
    """The keys that docs/performance.md names under "The keys"."""
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    section = text.split("## The keys of results.json\n", 1)[1].split("\n## ", 1)[0]
    lists = "".join(line for line in section.splitlines() if line.startswith("- "))
    keys = set()
    for pattern in re.findall(r"`([a-z0-9_.,{}\[\]-]+)`", lists):
        # Every other part is what stood in braces.
        choices = [
            part.split(",") if place % 2 else [part] for place, part in enumerate(re.split(r"[{}]", pattern))
        ]
        keys |= {"".join(chosen) for chosen in product(*choices)}
    return keys - MENTIONED


def measured(tmp_path: Path, *scenarios: str) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """The results of these scenarios, or of all, whose keys have to be those that are documented."""
    file = tmp_path / "results.json"
    ended = bench(*scenarios, "--scale", str(SCALE), "--out", str(file), "--cache", str(tmp_path / "cache"))
    assert ended.returncode == 0, ended.stderr

    results = orjson.loads(file.read_bytes())
    values = list(leaves(results))
    chosen = {*scenarios, "machine", "scale", "calibration"}
    assert {key for key, _ in values} == {
        key for key in documented() if not scenarios or key.partition(".")[0] in chosen
    }
    for key, value in values:
        if key in TEXTS:
            assert value, key
        else:
            assert value > 0 or key == "machine.load_before", key
    assert results["scale"] == SCALE
    for scenario in results.keys() - {"machine", "scale", "calibration"}:
        assert re.search(rf"^{scenario} +[\d,]+ ", ended.stdout, re.MULTILINE), ended.stdout
    assert list((tmp_path / "cache").glob("run-*")) == []  # brokers' data are gone, repositories are kept
    return results, ended


def test_scenarios_count_exactly_and_write_what_is_documented(tmp_path: Path) -> None:
    results, _ = measured(tmp_path, "worker", "sink_parquet", "planner")
    for scenario in ("worker", "sink_parquet"):
        assert results[scenario]["records"] == REPOSITORIES * RECORDS
    assert results["planner"]["tasks"] == REPOSITORIES * 20
    worker = results["worker"]
    assert worker["records_per_second"] == pytest.approx(worker["records"] / worker["wall_seconds"])
    assert len(list((tmp_path / "cache").glob("cars-*/*.car"))) == REPOSITORIES


@pytest.mark.long
@pytest.mark.timeout(PATIENCE + 20)
def test_all_scenarios_do(tmp_path: Path) -> None:
    results, ended = measured(tmp_path)
    assert results["end_to_end"]["records"] == REPOSITORIES * RECORDS
    assert results["giant"]["records"] == REPOSITORIES * 2000
    assert results["sink_dynamodb"]["items"] == REPOSITORIES // 10 * RECORDS
    assert results["sources"]["accounts"] == REPOSITORIES * 1000 * len(SOURCES)
    assert all(results["sources"][kind]["accounts"] == REPOSITORIES * 1000 for kind in SOURCES)
    assert all(re.search(rf"^sources\.{kind}: ", ended.stderr, re.MULTILINE) for kind in SOURCES)
    processes = results["end_to_end"]["processes"].values()
    assert results["end_to_end"]["cpu_us_per_record"] == pytest.approx(
        sum(process["cpu_us_per_record"] for process in processes)
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wroker"], "there is no scenario wroker; there are worker, sink_parquet"),
        (["--scale", "0"], "--scale 0.0 is not between"),
        (["--out", "nowhere/results.json"], "nowhere is no folder"),
    ],
)
def test_a_mistake_is_told_before_anything_is_started(words: list[str], said: str) -> None:
    ended = bench(*words)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
