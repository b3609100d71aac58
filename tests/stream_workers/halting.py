"""A fetch worker that halts in the midst of publishing each large repository, until it is told to go on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from schemas.settings import Settings
from stream_workers.fetch import settle
from stream_workers.fetch.main import run_fetch_worker

GO = "go"
"""The file in the data folder that lets it go on."""
HALTED = "halted"


def run(settings: Settings) -> None:
    """See the module; half of the records are with the broker when it halts."""
    slices = settle._slices

    def halting(events: Iterable[bytes]) -> Iterator[list[bytes]]:
        for part in slices(events):
            half = len(part) // 2
            yield part[:half]
            (settings.data_dir / HALTED).touch()
            while not (settings.data_dir / GO).exists():
                time.sleep(0.02)
            yield part[half:]

    settle._slices = halting
    run_fetch_worker(settings)
