"""A tracker in a process of its own that kills itself at one point of a commit with counts in it.

    python -m tests.stream_workers.doomed_tracker POINT NTH

POINT is `messages` (counts are with the broker, offsets are not), `offsets` (both are, undecided) or `after`
(committed); NTH tells how often the tracker gets that far.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import Any

from messaging.transactions import TransactionalPublisher
from schemas.settings import Settings
from stream_workers.tracker.main import run_tracker


def doom(point: str, nth: int) -> None:
    """Lets the `nth` commit with something in it end this process at `point`."""
    commit, call, left, counting = TransactionalPublisher.commit, TransactionalPublisher._call, nth, False

    def die(publisher: TransactionalPublisher) -> None:
        publisher._producer.flush(10)  # the broker has it all: only the transaction keeps it unseen
        os.kill(os.getpid(), signal.SIGKILL)

    def doomed_commit(publisher: TransactionalPublisher, *args: Any) -> None:
        nonlocal left, counting
        counting = publisher.in_transaction
        left -= counting
        if left == 0 and counting and point == "messages":
            die(publisher)

        def doomed_call(function: Any, *details: Any) -> None:
            if left == 0 and counting and point == "offsets" and function.__name__ == "commit_transaction":
                die(publisher)
            call(function, *details)

        publisher._call = doomed_call  # type: ignore[method-assign]
        commit(publisher, *args)
        if left == 0 and counting and point == "after":
            die(publisher)

    TransactionalPublisher.commit = doomed_commit  # type: ignore[method-assign]


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    doom(sys.argv[1], int(sys.argv[2]))
    run_tracker(Settings(), threading.Event())
