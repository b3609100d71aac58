"""A sync that kills itself, at the Nth statement that begins so: between any two, somebody may pull the plug.

python -m tests.atp.plc_victim MIRROR URL STATEMENT N
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from atp.plc_sync import PlcSync
from atp.plc_writer import MirrorWriter
from atp.xrpc import Client


async def main(path: str, url: str, statement: str, count: int) -> None:
    left = count

    def look(text: str) -> None:
        nonlocal left
        left -= text.startswith(statement)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with MirrorWriter(Path(path), url) as mirror:
        mirror._db.set_trace_callback(look)
        async with Client() as client:
            await PlcSync(mirror, client, per_second=1000).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
