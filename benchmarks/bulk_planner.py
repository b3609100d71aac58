"""The planner as a process, over a directory that knows everybody.

    python -m benchmarks.bulk_planner SETTINGS ORIGIN…

SETTINGS is a file with the settings as JSON; the origins are those of the accounts' hosts, by number.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from atp.xrpc import Client
from benchmarks.bulk import Directory
from messaging import clients
from producers.planner import Planner
from schemas.settings import Settings


def main(settings_file: Path, origins: Sequence[str]) -> None:
    """Plans until SIGTERM."""
    settings = Settings.model_validate_json(settings_file.read_bytes())
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    logging.basicConfig(level=logging.INFO)
    client = Client(allow_private_hosts=True)
    with asyncio.Runner() as runner:
        planner = Planner(settings, Directory(origins), runner, clients.admin(settings.kafka), client=client)
        try:
            planner.run(stop)
        finally:
            planner.close()
            runner.run(client.close())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
