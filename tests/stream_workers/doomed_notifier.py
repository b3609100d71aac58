"""A notifier in a process of its own that kills itself once a notice was heard, before that is written.

python -m tests.stream_workers.doomed_notifier
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Sequence

from schemas.settings import Settings
from schemas.webhooks import Delivery
from stream_workers.notifier.book import NoticeBook
from stream_workers.notifier.main import run_notifier


def doom() -> None:
    """Lets the first look with something to write end this process."""
    look = NoticeBook.look

    def doomed(book: NoticeBook, done: Sequence[Delivery]) -> None:
        if any(delivery.delivered_at and delivery.url != "log" for delivery in done):
            os.kill(os.getpid(), signal.SIGKILL)
        look(book, done)

    NoticeBook.look = doomed  # type: ignore[method-assign]


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    doom()
    run_notifier(Settings(), threading.Event())
