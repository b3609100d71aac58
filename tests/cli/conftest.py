"""One simulated network for all tests of commands, served by `skyfill network` itself."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Served, Skyfill, environment, truth_of, until


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """40 accounts on 4 hosts, with the demo's faults; ends on SIGTERM, with exit code 0."""
    folder = tmp_path_factory.mktemp("network")
    skyfill = Skyfill(folder, environment())
    serving = skyfill.start(
        *("network", "--ready", "network.json", "--accounts", 40, "--hosts", 4, "--records", 30)
    )
    ready = folder / "network.json"
    until(ready.exists)
    plc_url = json.loads(ready.read_bytes())["plc_url"]
    yield Served(plc_url, asyncio.run(truth_of(plc_url)))
    ended = serving.end(signal.SIGTERM)
    assert (ended.code, ended.out, ended.err) == (0, "", "")


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Skyfill]:
    """Commands without any settings."""
    skyfill = Skyfill(tmp_path, environment())
    yield skyfill
    skyfill.close()


@pytest.fixture
def skyfill(kafka: str, dynamodb: str, prefix: str, network: Served, tmp_path: Path) -> Iterator[Skyfill]:
    """Commands with a broker, a DynamoDB and a network; few partitions and short sessions, as tests like."""
    env = environment(
        KAFKA__BOOTSTRAP_SERVERS=kafka,
        KAFKA__TOPIC_PREFIX=prefix,
        API__PORT="0",
        KAFKA__SESSION_TIMEOUT_SECONDS="3",
        KAFKA__TRANSACTION_TIMEOUT_SECONDS="10",
        KAFKA__COMMIT_INTERVAL_SECONDS="0.3",
        KAFKA__PARTITIONS__DIDS="4",
        KAFKA__PARTITIONS__RECORDS="2",
        KAFKA__PARTITIONS__OUTCOMES="1",
        KAFKA__PARTITIONS__DEADLETTER="1",
        KAFKA__PARTITIONS__REPOS="1",
        DYNAMODB__ENDPOINT_URL=dynamodb,
        NETWORK__PLC_URL=network.plc_url,
        NETWORK__HANDLE_URL=network.plc_url,
        NETWORK__ALLOW_PRIVATE_HOSTS="true",
        SINK__FLUSH_SECONDS="2",
    )
    made = Skyfill(tmp_path, env)
    yield made
    made.close()
