"""A sink as a process of its own, that kills or stops itself at a chosen place.

    python victim.py parquet|dynamodb SETTINGS_JSON [MODULE:CLASS.METHOD before|after NTH KILL|STOP]

The place is a method of the real code; the process meets the signal right before or after its NTH call.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
from typing import Any

from schemas.errors import SkyfillError
from schemas.settings import Settings
from sinks.dynamodb import run_dynamodb_sink
from sinks.parquet import run_parquet_sink


def arm(place: str, when: str, nth: int, number: signal.Signals) -> None:
    """Wraps the method so that its `nth` call meets the signal."""
    module, _, path = place.partition(":")
    owner, _, method = path.partition(".")
    target = getattr(importlib.import_module(module), owner)
    original, calls = getattr(target, method), 0

    def strike() -> None:
        print("struck", flush=True)
        os.kill(os.getpid(), number)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        due = calls == nth
        if due and when == "before":
            strike()
        result = original(*args, **kwargs)
        if due and when == "after":
            strike()
        return result

    setattr(target, method, wrapped)


def main() -> None:
    """Runs until SIGTERM, or until the signal at the chosen place."""
    kind, settings = sys.argv[1], Settings.model_validate_json(sys.argv[2])
    logging.basicConfig(level="INFO", stream=sys.stderr)
    if len(sys.argv) > 3:
        place, when, nth, name = sys.argv[3:]
        arm(place, when, int(nth), signal.Signals[f"SIG{name}"])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        (run_parquet_sink if kind == "parquet" else run_dynamodb_sink)(settings, stop)
    except SkyfillError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
