"""The servers that tests run against: real ones, started once a session.

In this order: the servers that the environment names, containers where a Docker engine answers, and else the
embedded ones. Tests share them: every topic and table carries the ``prefix`` of its test,
and every test makes accounts of its own.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Producer
from testcontainers.core.container import DockerContainer

from local.dynamodb import EmbeddedDynamoDB, tables_answer
from local.java import default_cache_dir
from local.kafka import BROKER_SETTINGS, NODE_ID, EmbeddedKafka, broker_answers, new_cluster_id
from local.ports import HOST, choose_ports
from local.seaweedfs import EmbeddedS3, objects_answer
from tests.reference.install import install
from tests.reference.reference import ReferenceNetwork

KAFKA_IMAGE = "apache/kafka:4.1.1"
DYNAMODB_IMAGE = "amazon/dynamodb-local:2.6.1"
DYNAMODB_PORT = 8000
S3_IMAGE = "chrislusf/seaweedfs:4.48"
S3_PORT = 8333
CONTAINER_SECONDS = 60
REFERENCE_SECONDS = 900

# Tests kill consumers and wait for the group to notice, and let messages grow too old to be kept.
TEST_BROKER_SETTINGS = {
    "group.min.session.timeout.ms": "1000",
    "log.retention.check.interval.ms": "5000",
    "log.initial.task.delay.ms": "5000",
}


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap servers of a broker that makes no topics by itself."""
    given = os.environ.get("SKYFILL_KAFKA__BOOTSTRAP_SERVERS")
    if given:
        yield given
    elif docker_answers():
        with kafka_container() as bootstrap_servers:
            yield bootstrap_servers
    else:
        server = EmbeddedKafka(tmp_path_factory.mktemp("kafka"), overrides=TEST_BROKER_SETTINGS)
        bootstrap_servers = asyncio.run(server.start())
        settle_coordinators(bootstrap_servers)
        yield bootstrap_servers
        asyncio.run(server.stop())


def settle_coordinators(bootstrap_servers: str) -> None:
    """Returns once the broker has made and loaded all partitions of its transaction log.

    A transaction that meets them being made may be lost to its coordinator; what comes first would fail.
    """
    for number in range(20):
        settings = {"bootstrap.servers": bootstrap_servers, "transactional.id": f"settle.{number}"}
        producer = Producer(settings | {"log_level": 2})
        producer.init_transactions(60)


@pytest.fixture(scope="session")
def dynamodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint URL of a DynamoDB that takes any credentials."""
    given = os.environ.get("SKYFILL_DYNAMODB__ENDPOINT_URL")
    if given:
        yield given
    elif docker_answers():
        with dynamodb_container() as endpoint_url:
            yield endpoint_url
    else:
        server = EmbeddedDynamoDB(tmp_path_factory.mktemp("dynamodb"), in_memory=True)
        yield asyncio.run(server.start())
        asyncio.run(server.stop())


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint URL of an S3 server that takes any credentials."""
    given = os.environ.get("SKYFILL_S3__ENDPOINT_URL")
    if given:
        yield given
    elif docker_answers():
        with s3_container() as endpoint_url:
            yield endpoint_url
    else:
        server = EmbeddedS3(tmp_path_factory.mktemp("s3"))
        yield asyncio.run(server.start())
        asyncio.run(server.stop())


@pytest.fixture(scope="session")
def reference_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReferenceNetwork]:
    """The reference PLC directory and two reference PDSs. Needs Node; a test that uses it is marked
    ``reference``."""
    network = ReferenceNetwork(install(default_cache_dir()), tmp_path_factory.mktemp("reference"))
    asyncio.run(network.start())
    yield network
    asyncio.run(network.stop())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that needs the reference network may have to wait until it is compiled."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "reference_network" in fixtures and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(REFERENCE_SECONDS))


@pytest.fixture
def prefix() -> str:
    """A prefix for topics, groups and tables that no other test has."""
    return f"t{secrets.token_hex(4)}."


def docker_answers() -> bool:
    """Whether a Docker engine is there. Asked by hand: it has to be quick and silent where none is."""
    address = urlsplit(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    local = address.scheme == "unix"
    target = address.path if local else (address.hostname or HOST, address.port or 2375)
    with socket.socket(socket.AF_UNIX if local else socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        try:
            connection.connect(target)
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False


def publish(container: DockerContainer, inside: int, outside: int) -> None:
    """Publish a container's port on the loopback interface only: docker-py takes an (address, port) here,
    which testcontainers' annotation doesn't know."""
    container.ports.update(cast("Any", {f"{inside}/tcp": (HOST, outside)}))


@contextmanager
def kafka_container() -> Iterator[str]:
    # Inside and outside the container the port is the same one: a broker tells clients where to find it.
    port = choose_ports(["broker"], {})["broker"]
    settings = {
        **BROKER_SETTINGS,
        **TEST_BROKER_SETTINGS,
        "listeners": f"BROKER://:{port},CONTROLLER://:{port + 1}",
        "advertised.listeners": f"BROKER://{HOST}:{port}",
        "controller.quorum.voters": f"{NODE_ID}@localhost:{port + 1}",
    }
    container = DockerContainer(KAFKA_IMAGE).with_env("CLUSTER_ID", new_cluster_id())
    for name, value in settings.items():
        container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
    publish(container, port, port)
    with container:
        wait_for_container(container, lambda: asyncio.run(broker_answers(port)))
        yield f"{HOST}:{port}"


@contextmanager
def dynamodb_container() -> Iterator[str]:
    port = choose_ports(["dynamodb"], {})["dynamodb"]
    url = f"http://{HOST}:{port}"
    container = DockerContainer(DYNAMODB_IMAGE).with_command(
        "-jar DynamoDBLocal.jar -inMemory -sharedDb -disableTelemetry"
    )
    publish(container, DYNAMODB_PORT, port)
    with container:
        wait_for_container(container, lambda: tables_answer(url))
        yield url


@contextmanager
def s3_container() -> Iterator[str]:
    port = choose_ports(["s3"], {})["s3"]
    url = f"http://{HOST}:{port}"
    container = DockerContainer(S3_IMAGE).with_command("server -s3 -master.telemetry=false -s3.iam=false")
    publish(container, S3_PORT, port)
    with container:
        wait_for_container(container, lambda: objects_answer(url))
        yield url


def wait_for_container(container: DockerContainer, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + CONTAINER_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            output, errors = container.get_logs()
            pytest.fail(f"{container.image} is not ready:\n{output.decode()}{errors.decode()}")
        time.sleep(0.2)
