"""Logs of processes: the form that was chosen, and no Kafka client that floods them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.logs import log_to_file
from schemas.settings import Settings


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """A file that everything is logged to while the test runs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for handler in handlers:
        root.removeHandler(handler)  # pytest's, which would be closed
    log_to_file(Settings(log_format="json"), file := tmp_path / "log")
    yield file
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def test_a_kafka_client_says_the_same_once_in_a_while(log: Path) -> None:
    for _ in range(100):
        logging.getLogger("aiokafka.consumer.fetcher").error("Failed fetch messages from %d", 1)
        logging.getLogger("skyfill.kafka").warning("FAIL: connection refused")
        logging.getLogger("skyfill.rates").warning("skipped messages")
        logging.getLogger("faust.app").info("Executing")
    said = [json.loads(line)["message"] for line in log.read_text().splitlines()]
    assert said.count("Failed fetch messages from 1") == 1
    assert said.count("FAIL: connection refused") == 1
    assert said.count("skipped messages") == 100
    assert len(said) == 102
