"""The simulated network as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

PROGRAM = """
import asyncio, pathlib, sys
from local.network.main import serve
from local.network.network import Network

network = Network(seed=1, accounts=3, hosts=2, records=5)
asyncio.run(serve(network, pathlib.Path(sys.argv[1])))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_and_ends_when_asked(
    http: aiohttp.ClientSession, tmp_path: Path, number: signal.Signals
) -> None:
    ready = tmp_path / "network.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        str(ready),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    async with asyncio.timeout(60):
        while not ready.exists():
            assert process.returncode is None, await process.communicate()
            await asyncio.sleep(0.05)
        where = json.loads(ready.read_bytes())
        assert where["pid"] == process.pid
        assert where["accounts"] == 3
        assert len(where["hosts"]) == 2
        for origin in (*where["hosts"], where["plc_url"], where["relay_url"]):
            async with http.get(f"{origin}/xrpc/_health") as response:
                assert response.status == 200
        process.send_signal(number)
        output, _ = await process.communicate()
    assert (process.returncode, output) == (0, b"")
    assert os.listdir(tmp_path) == []
