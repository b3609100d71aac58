"""A restart keeps its ports where they are still free."""

from __future__ import annotations

import socket
from pathlib import Path

from local.ports import choose_ports, load_ports, port_is_free, save_ports


def test_remembered_ports_are_kept() -> None:
    first = choose_ports(["broker", "controller"], {})
    assert first["broker"] != first["controller"]
    assert choose_ports(["broker", "controller"], first) == first


def test_a_taken_port_is_replaced_alone() -> None:
    first = choose_ports(["broker", "controller"], {})
    with socket.create_server(("127.0.0.1", first["broker"])):
        assert not port_is_free(first["broker"])
        second = choose_ports(["broker", "controller"], first)
    assert second["broker"] != first["broker"]
    assert second["controller"] == first["controller"]


def test_ports_survive_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    assert load_ports(file) == {}
    save_ports(file, {"broker": 9092})
    assert load_ports(file) == {"broker": 9092}
    for damaged in ("", "{", "[9092]", '{"broker": "9092"}'):
        file.write_text(damaged)
        assert load_ports(file) == {}
