"""A network of the reference implementations: one PLC directory and two PDSs from npm, on free ports.

What skyfill fetches from here was written and signed by code that is not ours.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import aiohttp

from local.ports import HOST, choose_ports
from local.process import ChildProcess
from tests.reference.install import HERE

READY_SECONDS = 60


class ReferenceNetwork:
    """``plc_url`` and ``pds_urls`` are known after ``start``. A PDS's URL is what its accounts' DID documents
    say, ``http://localhost:PORT``: a resolver has to allow private hosts and plain http to reach it."""

    def __init__(self, modules: Path, data: Path, *, pdses: int = 2, rate_limits: bool = False) -> None:
        """``modules`` is what ``install`` returned; ``data`` is emptied by every start. ``rate_limits``: the
        PDSs have those that they come with."""
        self._modules = modules
        self._data = data
        self._rate_limits = rate_limits
        self._pdses = [f"pds{number}" for number in range(pdses)]
        self._process: ChildProcess | None = None
        self.plc_url = ""
        self.pds_urls: tuple[str, ...] = ()

    @property
    def process(self) -> ChildProcess | None:
        """The servers' process, None before the start."""
        return self._process

    async def start(self) -> None:
        """Start the servers and wait until all answer. Raises LocalServerError."""
        ports = choose_ports(["plc", *self._pdses], {})
        self.plc_url = f"http://{HOST}:{ports['plc']}"
        self.pds_urls = tuple(f"http://localhost:{ports[name]}" for name in self._pdses)
        command = [shutil.which("node") or "node", str(HERE / "network.mjs")]
        command += [str(self._modules), str(self._data / "servers"), *map(str, ports.values())]
        environment = dict(os.environ) | {"RATE_LIMITS": "on" if self._rate_limits else "off"}
        self._process = ChildProcess(
            "the reference network", command, self._data / "network.log", env=environment
        )
        self._process.start()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            await self._process.wait_until(lambda: self._answers(session), patience=READY_SECONDS)

    async def stop(self) -> None:
        """Stop the servers. Does nothing if they aren't running."""
        if self._process is not None:
            await self._process.stop(grace=5)

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        health = [f"{self.plc_url}/_health", *(f"{pds}/xrpc/_health" for pds in self.pds_urls)]
        for url in health:
            try:
                async with session.get(url) as response:
                    if response.status != 200:
                        return False
            except (aiohttp.ClientError, TimeoutError):
                return False
        return True
