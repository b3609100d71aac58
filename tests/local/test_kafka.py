"""The embedded broker keeps its promises over kills, restarts and stolen ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic

from local.kafka import EmbeddedKafka, new_cluster_id
from local.ports import choose_ports
from schemas.errors import LocalServerError

# A supervisor: starts a broker on the folder, says where, and waits for its own end.
SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from local.kafka import EmbeddedKafka
async def main():
    print(await EmbeddedKafka(Path(sys.argv[1])).start(), flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_everything_survives_a_sigkill_of_everything(tmp_path: Path) -> None:
    supervisor = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", SUPERVISOR, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    with supervisor.stdout:
        before = supervisor.stdout.readline().strip()
    cluster = cluster_id(before)
    create_topic(before, "colours")
    produce(before, "colours", ["red", "green"])
    commit(before, "colours", 1)
    supervisor.kill()
    supervisor.wait()

    # At once: the broker may still be dying. Its port is taken meanwhile, by somebody else in the end.
    server = EmbeddedKafka(tmp_path)
    after = await server.start()
    assert after == before
    assert cluster_id(after) == cluster
    assert read_all(after, "colours", 2) == ["red", "green"]
    assert committed(after, "colours") == 1
    await server.stop()

    with socket.create_server(("127.0.0.1", int(before.rpartition(":")[2]))):
        elsewhere = await server.start()
    assert elsewhere != before
    assert cluster_id(elsewhere) == cluster
    produce(elsewhere, "colours", ["blue"])
    assert read_all(elsewhere, "colours", 3) == ["red", "green", "blue"]
    await server.stop()
    assert server.process is not None
    assert not server.process.running


async def test_settings_that_skyfill_relies_on(tmp_path: Path) -> None:
    server = EmbeddedKafka(tmp_path, overrides={"group.min.session.timeout.ms": "1000"})
    bootstrap = await server.start()
    settings = broker_settings(bootstrap)
    assert settings["auto.create.topics.enable"] == "false"
    assert int(settings["offsets.retention.minutes"]) > 4000 * 365 * 24 * 60 / 1000
    assert int(settings["message.max.bytes"]) > 4 * 1024 * 1024
    assert settings["transaction.max.timeout.ms"] == "900000"
    assert settings["group.min.session.timeout.ms"] == "1000"
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": "t", "message.max.bytes": 5_000_000}
    )
    create_topic(bootstrap, "big")
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce("big", os.urandom(4 * 1024 * 1024))
    producer.commit_transaction(30)
    assert server.process is not None
    listening = [
        connection.laddr
        for connection in psutil.Process(server.process.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 2
    assert all(address.ip.removeprefix("::ffff:") == "127.0.0.1" for address in listening)
    await server.stop()


async def test_a_port_stolen_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thieves: list[socket.socket] = []

    def choose_and_be_robbed(names: Sequence[str], remembered: dict[str, int]) -> dict[str, int]:
        chosen = choose_ports(names, remembered)
        if not thieves:
            thieves.append(socket.create_server(("127.0.0.1", chosen[names[0]])))
        return chosen

    monkeypatch.setattr("local.server.choose_ports", choose_and_be_robbed)
    server = EmbeddedKafka(tmp_path)
    address = await server.start()
    with thieves[0] as thief:
        assert not address.endswith(f":{thief.getsockname()[1]}")
    await server.stop()


async def test_a_wanted_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalServerError, match=f"port {port}: another program does"):
            await EmbeddedKafka(tmp_path, port=port).start()


async def test_a_refused_setting_shows_the_log(tmp_path: Path) -> None:
    server = EmbeddedKafka(tmp_path, overrides={"num.partitions": "zero"})
    with pytest.raises(LocalServerError, match=r"num\.partitions"):
        await server.start()


async def test_a_refused_start_shows_the_log(tmp_path: Path) -> None:
    # Formatting does not look at this one; starting does.
    server = EmbeddedKafka(tmp_path, overrides={"metric.reporters": "org.example.NoSuchClass"})
    with pytest.raises(LocalServerError, match="NoSuchClass"):
        await server.start()
    assert server.process is not None
    assert server.process.returncode not in (None, 0, -signal.SIGKILL)


async def test_stop_without_start(tmp_path: Path) -> None:
    await EmbeddedKafka(tmp_path).stop()


def test_cluster_ids_never_look_like_options() -> None:
    ids = {new_cluster_id() for _ in range(500)}
    assert len(ids) == 500
    assert all(len(one) == 22 and not one.startswith("-") for one in ids)


def cluster_id(bootstrap: str) -> str:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    return str(admin.describe_cluster().result(10).cluster_id)


def broker_settings(bootstrap: str) -> dict[str, str]:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (described,) = admin.describe_configs([ConfigResource(ConfigResource.Type.BROKER, "1")]).values()
    return {name: entry.value for name, entry in described.result(10).items()}


def create_topic(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (created,) = admin.create_topics([NewTopic(topic, 1)]).values()
    created.result(10)


def produce(bootstrap: str, topic: str, values: list[str]) -> None:
    refused: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            refused.append(error)

    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for value in values:
        producer.produce(topic, value, on_delivery=delivered)
    assert producer.flush(20) == 0
    assert refused == []


def consumer(bootstrap: str) -> Consumer:
    return Consumer({"bootstrap.servers": bootstrap, "group.id": "painters", "enable.auto.commit": False})


def commit(bootstrap: str, topic: str, offset: int) -> None:
    reader = consumer(bootstrap)
    deadline = time.monotonic() + 30
    while True:
        try:
            reader.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
            break
        except KafkaException as error:  # the group's coordinator may still be loading
            if not error.args[0].retriable() or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    reader.close()


def committed(bootstrap: str, topic: str) -> int:
    reader = consumer(bootstrap)
    (position,) = reader.committed([TopicPartition(topic, 0)], timeout=20)
    reader.close()
    return int(position.offset)


def read_all(bootstrap: str, topic: str, count: int) -> list[str]:
    reader = consumer(bootstrap)
    reader.assign([TopicPartition(topic, 0, 0)])
    values: list[str] = []
    while len(values) < count:
        message = reader.poll(20)
        assert message is not None
        assert message.error() is None
        values.append((message.value() or b"").decode())
    reader.close()
    return values
