"""The end of a process that lost its place. Its supervisor starts it anew and Kafka says where to go on."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from confluent_kafka import KafkaException

from schemas.errors import FencedError, SkyfillError

EXIT_CODE = 75
"""EX_TEMPFAIL: start me again."""
_log = logging.getLogger("skyfill")


def end_process(reason: str) -> NoReturn:
    """Logs and leaves at once: no clean-up may touch Kafka or a store after the place is lost."""
    _log.warning("ending this process: %s; its successor takes up from the last commit", reason)
    _leave(EXIT_CODE)


def end_with(error: BaseException) -> NoReturn:
    """The end of a process that met `error`; a restart helps unless a user has to mend something."""
    if isinstance(error, FencedError) or not isinstance(error, SkyfillError):
        if not isinstance(error, SkyfillError | KafkaException):
            _log.error("unexpected error", exc_info=error)
        end_process(f"{type(error).__name__}: {error}")
    _log.error("%s: %s", type(error).__name__, error)
    _leave(1)


@contextmanager
def must_return(what: str, seconds: float, *, end: Callable[[str], NoReturn] = end_process) -> Iterator[None]:
    """Ends the process if the block takes longer than so many seconds, which nothing else could interrupt."""
    watch = threading.Timer(seconds, end, [f"{what} did not return within {seconds:.0f} s"])
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _leave(code: int) -> NoReturn:
    logging.shutdown()
    os._exit(code)
