"""A fetch worker that halts when all of a large repository is with the broker, until it is told to go on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from schemas.settings import Settings
from stream_workers.fetch import settle, worker
from stream_workers.fetch.main import run_fetch_worker

GO = "go"
"""The file in the data folder that lets it go on."""
HALTED = "halted"


def run(settings: Settings) -> None:
    """See the module; its outcome and its offset are still to come then."""
    slices = settle._slices

    def halting(events: Iterable[bytes]) -> Iterator[list[bytes]]:
        yield from slices(events)
        (settings.data_dir / HALTED).touch()
        while not (settings.data_dir / GO).exists():
            time.sleep(0.02)

    settle._slices = halting
    worker._FINISH_SECONDS = 0.5
    run_fetch_worker(settings)
