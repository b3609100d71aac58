"""Metrics are served where Prometheus finds them, and a process works on where they can't be."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path
from urllib.request import urlopen

import pytest

from messaging.exposition import expose
from messaging.metrics import CounterOf, new_registry
from schemas.settings import MetricsSettings, Settings

THINGS = CounterOf("skyfill_things_total", "Things.", "Nothing.")


def settings(folder: Path, port: int | None = 0, host: str = "127.0.0.1") -> Settings:
    return Settings(data_dir=folder, metrics=MetricsSettings(host=host, port=port))


def scrape(target: str) -> str:
    with urlopen(f"http://{target}/metrics", timeout=10) as answer:
        return answer.read().decode()


def test_a_process_is_found_and_answers(tmp_path: Path) -> None:
    registry = new_registry()
    THINGS.make(registry).inc(3)
    entry = tmp_path / "metrics" / "sink-parquet-2.json"
    with expose(settings(tmp_path), "sink-parquet-2", registry) as port:
        [found] = json.loads(entry.read_text())
        assert found == {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {"process": "sink-parquet-2", "role": "sink-parquet"},
        }
        assert "skyfill_things_total 3.0" in scrape(found["targets"][0])
    assert not entry.exists()
    with pytest.raises(OSError, match="refused"):
        scrape(found["targets"][0])


def test_processes_count_up_from_the_first_port(tmp_path: Path) -> None:
    with expose(settings(tmp_path), "worker-0", new_registry()) as first:
        assert first is not None
        with expose(settings(tmp_path, first), "worker-1", new_registry()) as second:
            assert second is not None
            assert first < second < first + 200
            assert "process_cpu_seconds_total" in scrape(f"127.0.0.1:{second}")


def test_a_server_on_all_addresses_is_found_on_loopback(tmp_path: Path) -> None:
    with expose(settings(tmp_path, host="0.0.0.0"), "producer", new_registry()) as port:
        [found] = json.loads((tmp_path / "metrics" / "producer.json").read_text())
        assert found == {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {"process": "producer", "role": "producer"},
        }


def test_no_port_no_metrics(tmp_path: Path) -> None:
    with expose(settings(tmp_path, None), "worker-0", new_registry()) as port:
        assert port is None
    assert not (tmp_path / "metrics").exists()


def test_an_address_that_is_not_ours_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        expose(settings(tmp_path, 0, "192.0.2.1"), "worker-0", new_registry()) as port,
    ):
        assert port is None
    assert "SKYFILL_METRICS__HOST" in caplog.text


def test_ports_that_are_all_taken_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        socket.create_server(("127.0.0.1", 65_535)),
        caplog.at_level(logging.WARNING),
        expose(settings(tmp_path, 65_535), "worker-0", new_registry()) as port,
    ):
        assert port is None
    assert "are in use" in caplog.text


def test_a_folder_that_can_not_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "metrics").write_text("a file is in the way")
    with caplog.at_level(logging.WARNING), expose(settings(tmp_path), "worker-0", new_registry()) as port:
        assert "process_cpu_seconds_total" in scrape(f"127.0.0.1:{port}")
    assert "will not find this process" in caplog.text


def test_who_ends_late_leaves_the_successors_entry_alone(tmp_path: Path) -> None:
    entry = tmp_path / "metrics" / "worker-0.json"
    with (
        expose(settings(tmp_path), "worker-0", new_registry()),
        expose(settings(tmp_path), "worker-0", new_registry()) as port,
    ):
        pass
    assert not entry.exists()
    with expose(settings(tmp_path), "worker-0", new_registry()):
        entry.write_text(f"successor at {port}")
    assert entry.read_text() == f"successor at {port}"
