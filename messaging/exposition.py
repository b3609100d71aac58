"""Where the metrics of a process are read: /metrics on a port of its own, named in a discovery file.

What may never break: a process works on without metrics. A port that can't be had is a warning, no more.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Protocol

from prometheus_client import CollectorRegistry, start_http_server

from schemas.settings import MetricsSettings, Settings

_PORTS_TRIED = 200
_LAST_PORT = 65_535
_ANYWHERE = {"", "0.0.0.0", "::"}
_log = logging.getLogger("skyfill.metrics")


class _Server(Protocol):
    server_port: int

    def shutdown(self) -> None: ...

    def server_close(self) -> None: ...


@contextmanager
def expose(settings: Settings, process: str, registry: CollectorRegistry) -> Iterator[int | None]:
    """Serves the registry at the first free port from `settings.metrics.port` on while the block runs.

    Yields the port, None if there is none. `process` names the process and its slot, e.g. `worker-0`;
    `{data_dir}/metrics/{process}.json` tells Prometheus (file_sd) where it listens. The file is taken away
    at a clean end; after a kill it stays until the successor of the same slot writes its own.
    """
    server, thread = _serve(settings.metrics, registry) or (None, None)
    if server is None or thread is None:
        yield None
        return
    entry = settings.data_dir / "metrics" / f"{process}.json"
    text = _entry(settings.metrics.host, server.server_port, process)
    try:
        _write(entry, text)
        _log.info("metrics of %s: http://%s:%d/metrics", process, settings.metrics.host, server.server_port)
        yield server.server_port
    finally:
        _withdraw(entry, text)
        server.shutdown()
        server.server_close()
        thread.join()


def _serve(settings: MetricsSettings, registry: CollectorRegistry) -> tuple[_Server, Thread] | None:
    first = settings.port
    if first is None:
        return None
    last = first if first == 0 else min(_LAST_PORT, first + _PORTS_TRIED - 1)
    for port in range(first, last + 1):
        try:
            return start_http_server(port, settings.host, registry)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                _log.warning(
                    "no metrics: can't listen at %s:%d (%s); see to SKYFILL_METRICS__HOST and "
                    "SKYFILL_METRICS__PORT",
                    settings.host,
                    port,
                    error,
                )
                return None
    _log.warning("no metrics: all ports from %d to %d are in use; set SKYFILL_METRICS__PORT", first, last)
    return None


def _entry(host: str, port: int, process: str) -> str:
    # Whoever reads the folder is on this machine, where a server on all addresses is on loopback, too.
    shown = "127.0.0.1" if host in _ANYWHERE else f"[{host}]" if ":" in host else host
    role, _, slot = process.rpartition("-")
    labels = {"process": process, "role": role if slot.isdigit() else process}
    return json.dumps([{"targets": [f"{shown}:{port}"], "labels": labels}]) + "\n"


def _write(entry: Path, text: str) -> None:
    """Whole or not at all: Prometheus reads it whenever it changes."""
    draft = entry.with_name(f".{entry.name}.{os.getpid()}")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text)
        draft.replace(entry)
    except OSError as error:
        _log.warning("%s can't be written, so Prometheus will not find this process: %s", entry, error)


def _withdraw(entry: Path, text: str) -> None:
    """Unless a successor of the same slot has written its own meanwhile."""
    with suppress(OSError):
        if entry.read_text() == text:
            entry.unlink()
