"""The tracker as a process."""

from __future__ import annotations

import threading

from messaging.crash import end_with
from messaging.exposition import expose
from messaging.metrics import new_registry
from schemas.settings import Settings
from stream_workers.tracker.metrics import TrackerMetrics
from stream_workers.tracker.tracker import Tracker


def run_tracker(settings: Settings, stop: threading.Event) -> None:
    """Counts until `stop` is set. Ends the process itself, with a reason logged, where it can't go on."""
    registry = new_registry()
    try:
        with expose(settings, f"tracker-{settings.worker_slot or 0}", registry):
            Tracker(settings, TrackerMetrics(registry)).run(stop)
    except Exception as error:
        end_with(error)
