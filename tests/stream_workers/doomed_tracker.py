"""A tracker in a process of its own that kills itself at one point of a commit with counts in it.

    python -m tests.stream_workers.doomed_tracker POINT NTH

POINT is `messages` (counts are with the broker, offsets are not), `offsets` (both are, undecided) or `after`
(committed); NTH tells how often the tracker gets that far. At the point `stale` it only stops itself, when it
has just marked a job as stale and not written it yet.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import Any

from messaging.transactions import TransactionalPublisher
from schemas.job_status import Ledger
from schemas.settings import Settings
from stream_workers.tracker import tracker
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


def stop_when_stale() -> None:
    """Lets this process stop with a stale job in its hands, all that it has counted being committed."""
    commit, grow_stale, committed = TransactionalPublisher.commit, tracker.grow_stale, False

    def counting_commit(publisher: TransactionalPublisher, *args: Any) -> None:
        nonlocal committed
        counting = publisher.in_transaction
        commit(publisher, *args)
        committed = committed or counting

    def stopping(ledger: Ledger, *times: Any) -> bool:
        stale = committed and grow_stale(ledger, *times)
        if stale:
            os.kill(os.getpid(), signal.SIGSTOP)
        return stale

    TransactionalPublisher.commit = counting_commit  # type: ignore[method-assign]
    tracker.grow_stale = stopping


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    if sys.argv[1] == "stale":
        stop_when_stale()
    else:
        doom(sys.argv[1], int(sys.argv[2]))
    run_tracker(Settings(), threading.Event())
