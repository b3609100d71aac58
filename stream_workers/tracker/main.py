"""The tracker as a process."""

from __future__ import annotations

import signal
import threading

from messaging.crash import end_with
from schemas.settings import Settings
from stream_workers.tracker.tracker import Tracker


def run_tracker(settings: Settings) -> None:
    """Works until SIGTERM or SIGINT. Ends the process itself, with a reason logged, where it can't go on."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        Tracker(settings).run(stop)
    except Exception as error:
        end_with(error)
