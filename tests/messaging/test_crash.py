"""A process that can't go on ends, also where the client library would keep it waiting for ever."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, cast

import pytest

from local.kafka import EmbeddedKafka
from messaging.crash import EXIT_CODE, must_return
from tests.messaging.broker import PATIENCE, make_topic, read_all, settings

TOPIC = "bereaved.out"
ROOT = Path(__file__).parents[2]


class Ends:
    """Stands in for the end of the process."""

    def __init__(self) -> None:
        self.reason = ""
        self.came = threading.Event()

    def __call__(self, reason: str) -> NoReturn:
        self.reason = reason
        self.came.set()
        return cast("NoReturn", None)


def test_a_call_that_does_not_return_ends_the_process() -> None:
    ends = Ends()
    with must_return("send_offsets", 0.05, end=ends):
        assert ends.came.wait(PATIENCE)
    assert ends.reason.startswith("send_offsets did not return")


def test_a_call_that_returns_or_fails_in_time_does_not() -> None:
    ends = Ends()
    others = set(threading.enumerate())  # earlier tests' threads may still be there
    with must_return("commit", PATIENCE, end=ends):
        pass
    with pytest.raises(ValueError), must_return("commit", PATIENCE, end=ends):
        raise ValueError
    for watch in set(threading.enumerate()) - others:
        watch.join(PATIENCE)
        assert not watch.is_alive()
    assert not ends.came.is_set()


@pytest.fixture
def bereaved(tmp_path: Path) -> Iterator[tuple[EmbeddedKafka, str, subprocess.Popen[bytes]]]:
    """A broker of its own, its address, and a process with an open transaction on it."""
    kafka = EmbeddedKafka(tmp_path / "kafka", overrides={"group.min.session.timeout.ms": "1000"})
    servers = asyncio.run(kafka.start())
    make_topic(servers, TOPIC, 1)
    given = settings(servers, "bereaved.", session_timeout_seconds=60, transaction_timeout_seconds=60)
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "tests.messaging.bereaved", given.model_dump_json(), TOPIC],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
        ) as process,
    ):
        yield kafka, servers, process
        process.kill()
    asyncio.run(kafka.stop())


def test_a_commit_after_the_broker_was_killed_does_not_hang(
    bereaved: tuple[EmbeddedKafka, str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """With librdkafka 2.16 sending the offsets never comes back, and the process has to end; with one that
    can, it commits. Either way the transaction is whole or was never there."""
    kafka, servers, process = bereaved
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n", (tmp_path / "log").read_text()
    assert kafka.process is not None
    kafka.process.kill()
    asyncio.run(kafka.process.wait())
    asyncio.run(kafka.start())
    process.communicate(b"commit\n", PATIENCE)
    assert process.returncode in (0, EXIT_CODE), (tmp_path / "log").read_text()
    seen = [message.value for message in read_all(servers, TOPIC, 1)]
    assert seen == (["1", "2"] if process.returncode == 0 else ["1"])
