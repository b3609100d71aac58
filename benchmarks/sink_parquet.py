"""The Parquet sink alone, into a folder of this machine's disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.figures import Figures
from benchmarks.sinks import store
from benchmarks.stage import Stage
from benchmarks.tally import require_equal


def measure(stage: Stage) -> tuple[Figures, dict[str, Any]]:
    """Figures a record. Raises LocalServerError if rows are missing or there twice."""
    scene, repositories = stage.scene("sink_parquet"), stage.repositories
    folder = scene.settings.data_dir / "out"
    reading = store(stage, scene, "parquet", {"type": "parquet", "path": str(folder)}, repositories.count)
    rows, files = count_rows(folder)
    require_equal("rows stored", rows, repositories.records)
    return Figures("record", rows, reading, ("sink",)), {"files": files}


def count_rows(folder: Path) -> tuple[int, int]:
    """Rows and files below a folder. Raises LocalServerError for rows that are there twice."""
    files = list(folder.rglob("*.parquet"))
    uris = pa.chunked_array([pq.read_table(file, columns=["uri"])["uri"].combine_chunks() for file in files])
    require_equal("different rows", pc.count_distinct(uris).as_py(), len(uris))
    return len(uris), len(files)
