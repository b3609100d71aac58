"""The end of a process that lost its place. Its supervisor starts it anew and Kafka says where to go on."""

from __future__ import annotations

import logging
import os
from typing import NoReturn

EXIT_CODE = 75
"""EX_TEMPFAIL: start me again."""
_log = logging.getLogger("skyfill")


def end_process(reason: str) -> NoReturn:
    """Logs and leaves at once: no clean-up may touch Kafka or a store after the place is lost."""
    _log.warning("ending this process: %s; its successor takes up from the last commit", reason)
    logging.shutdown()
    os._exit(EXIT_CODE)
