"""The simulated network as a process of its own.

It prints nothing: when it is ready, it writes where everything listens into a small JSON file, all at
once; it ends on SIGTERM or SIGINT and takes the file away.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import orjson

from local.network.network import Network


async def serve(network: Network, ready_file: Path) -> None:
    """Run ``network`` until SIGTERM or SIGINT. Raises LocalServerError if it can't start.

    ``ready_file`` then holds {"pid", "plc_url", "relay_url", "hosts", "accounts"}.
    """
    asked_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_end.set)
    async with network:
        _write_at_once(ready_file, network)
        try:
            await asked_to_end.wait()
        finally:
            _remove(ready_file)


def _write_at_once(path: Path, network: Network) -> None:
    """Nobody may read half a file: write beside it, then rename."""
    where = {
        "pid": os.getpid(),
        "plc_url": network.plc_url,
        "relay_url": network.relay_url,
        "hosts": network.hosts,
        "accounts": len(network.dids),
    }
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_bytes(orjson.dumps(where))
    draft.replace(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
