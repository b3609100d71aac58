"""What the embedded servers have in common: a data folder that is theirs alone, ports, a start, a stop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from local.folder_lock import folder_lock
from local.ports import choose_ports, load_ports, port_is_free, save_ports
from local.process import ChildProcess
from schemas.errors import LocalServerError

PORT_ATTEMPTS = 3


class EmbeddedServer(ABC):
    """A server over ``data_dir``. ``start`` and ``stop`` may run in different event loops (``asyncio.run``
    serves synchronous callers), both in the main thread. May be started again after a stop."""

    title: ClassVar[str]
    """What messages call it."""
    port_names: ClassVar[tuple[str, ...]]
    """Its ports; the first one is its clients'."""
    stop_seconds: ClassVar[float] = 10.0
    """How long it may take to end by itself."""

    def __init__(self, data_dir: Path, *, port: int | None, log: Path) -> None:
        """``port`` is its clients' (None: the last one, or any free one)."""
        self.data_dir = data_dir
        self.log = log
        self._port = port
        self._process: ChildProcess | None = None

    @property
    def process(self) -> ChildProcess | None:
        """The server's process, None before the first start."""
        return self._process

    async def start(self) -> str:
        """Start the server and wait until it answers; its address.

        One that still runs is stopped first. Raises LocalServerError.
        """
        await self.stop()
        await self._prepare()
        async with folder_lock(self.data_dir) as lock:
            for attempt in range(1, PORT_ATTEMPTS + 1):
                ports = self._choose_ports()
                try:
                    await self._launch(ports, lock)
                except LocalServerError:
                    # Somebody took a port between our look and the server's bind: look again.
                    stolen = self._port is None and not all(port_is_free(port) for port in ports.values())
                    if not stolen or attempt == PORT_ATTEMPTS:
                        raise
                    continue
                break
        save_ports(self.data_dir / "ports.json", dict(ports))
        return self._address(ports)

    async def stop(self) -> None:
        """Stop the server. Does nothing if it isn't running."""
        if self._process is not None:
            await self._process.stop(grace=self.stop_seconds)

    @abstractmethod
    async def _prepare(self) -> None:
        """What a start needs beside the folder, such as a download. Raises LocalServerError."""

    @abstractmethod
    async def _launch(self, ports: Mapping[str, int], lock: int) -> None:
        """Starts ``self._process``, which inherits the folder's lock, and waits until it answers."""

    @abstractmethod
    def _address(self, ports: Mapping[str, int]) -> str:
        """Where clients find it."""

    def _choose_ports(self) -> Mapping[str, int]:
        remembered = load_ports(self.data_dir / "ports.json")
        if self._port is not None:
            if not port_is_free(self._port):
                raise LocalServerError(
                    f"{self.title} can't listen on port {self._port}: another program does. "
                    "Stop that one or choose another port."
                )
            remembered[self.port_names[0]] = self._port
        return choose_ports(self.port_names, remembered)
