"""Reads a topic into a stored view and kills itself ahead of a statement, in mid-transaction as well
as between two. Arguments: servers, topic, file, and how many statements it lives.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from pathlib import Path

from messaging.stored_view import StoredView
from schemas.settings import KafkaSettings
from tests.messaging.notes import Note


def main(servers: str, topic: str, file: str, statements: str) -> None:
    view = StoredView(KafkaSettings(bootstrap_servers=servers), topic, Note.decode, Path(file), batch=50)
    counter = count(1)

    def look(statement: str) -> None:
        if next(counter) == int(statements):
            os.kill(os.getpid(), signal.SIGKILL)

    view._rows.set_trace_callback(look)
    while not view.advance(1.0):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
