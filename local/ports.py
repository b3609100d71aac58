"""Ports on the loopback interface, remembered from one start to the next.

Clients keep addresses (a shell, a notebook, a dashboard's tab), so a restart must keep its ports if it can.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path

HOST = "127.0.0.1"


def port_is_free(port: int) -> bool:
    """Whether a server can listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose_ports(names: Sequence[str], remembered: dict[str, int]) -> dict[str, int]:
    """One port a name: the remembered one if it is free, else any free one. All different."""
    ports = {name: port for name in names if (port := remembered.get(name)) and port_is_free(port)}
    probes = []
    try:
        for name in names:
            if name in ports:
                continue
            # All probes stay open until the end, so no port is given twice.
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            probes.append(probe)
            probe.bind((HOST, 0))
            ports[name] = probe.getsockname()[1]
    finally:
        for probe in probes:
            probe.close()
    return ports


def load_ports(file: Path) -> dict[str, int]:
    """What ``save_ports`` wrote; empty if there is nothing usable (then new ports are chosen)."""
    try:
        ports = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(ports, dict):
        return {}
    return {str(name): port for name, port in ports.items() if isinstance(port, int)}


def save_ports(file: Path, ports: dict[str, int]) -> None:
    """Remember the ports; the file is replaced whole."""
    draft = file.with_name(f"{file.name}.tmp")
    draft.write_text(json.dumps(ports))
    draft.replace(file)
