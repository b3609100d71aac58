"""What every sink promises, told as stories. A new sink's test class inherits these."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from messaging.crash import EXIT_CODE
from messaging.names import SinkKind
from schemas.settings import Settings
from tests.sinks.deployment import Deployment, Sent, accounts

ROOT = Path(__file__).parents[2]


class SinkContract(ABC):
    """Subclasses say how to run their sink and what lies in its storage."""

    kind: ClassVar[SinkKind]
    store: ClassVar[tuple[str, str]]
    """The methods that begin and end a step of storing, as victim.py names them."""
    add: ClassVar[str]
    """The method that takes a row."""
    deployment: Deployment

    @staticmethod
    @abstractmethod
    def run(settings: Settings, stop: threading.Event) -> None:
        """The sink."""

    @abstractmethod
    def storage(self, name: str) -> dict[str, Any]:
        """A job's storage section; the place is made by the test if the sink does not make it."""

    @abstractmethod
    def stored(self, name: str) -> list[Sent]:
        """All rows of that storage."""

    @pytest.fixture
    def processes(self) -> Iterator[list[subprocess.Popen[bytes]]]:
        started: list[subprocess.Popen[bytes]] = []
        yield started
        for process in started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    @pytest.fixture
    def start(self, processes: list[subprocess.Popen[bytes]]) -> Callable[..., subprocess.Popen[bytes]]:
        def start(*strike: str) -> subprocess.Popen[bytes]:
            settings = self.deployment.settings.model_dump_json()
            command = [
                sys.executable,
                str(Path(__file__).with_name("victim.py")),
                self.kind,
                settings,
                *strike,
            ]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE)
            processes.append(process)
            return process

        return start

    def assert_stored(self, name: str, sent: list[Sent]) -> None:
        """Nothing lost, nothing doubled, nothing else."""
        assert Counter(self.stored(name)) == Counter(sent)

    def test_stores_every_committed_row_once(self) -> None:
        self.deployment.start_job("j", self.storage("one"))
        sent = self.deployment.send("j", accounts(12), 15)
        self.deployment.send("j", accounts(9, "never"), 10, abort=True)
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
            sent += self.deployment.send("j", accounts(5, "later"), 10)
            self.deployment.send("j", accounts(5, "never"), 10, abort=True)
            self.deployment.drain(self.kind, alive)
        self.assert_stored("one", sent)

    def test_rows_go_where_their_job_says(self) -> None:
        self.deployment.start_job("j1", self.storage("one"))
        self.deployment.start_job("j2", self.storage("two"))
        self.deployment.start_job("both", self.storage("one"), self.storage("two"))
        self.deployment.start_job("other", self.other_storage())
        one, two = list[Sent](), list[Sent]()
        for i in range(6):  # the two jobs' rows alternate in every partition
            one += self.deployment.send("j1", accounts(4, f"x{i}"), 5)
            two += self.deployment.send("j2", accounts(4, f"y{i}"), 5)
            both = self.deployment.send("both", accounts(2, f"z{i}"), 3)
            one, two = one + both, two + both
            self.deployment.send("other", accounts(2, f"o{i}"), 3)
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
        self.assert_stored("one", one)
        self.assert_stored("two", two)

    def other_storage(self) -> dict[str, Any]:
        """A storage that is not of this kind."""
        if self.kind == "parquet":
            return {"type": "dynamodb", "table_name": "elsewhere"}
        return {"type": "parquet", "path": "/elsewhere"}

    @pytest.mark.parametrize(
        "moment", ["before storing", "after storing", "before the commit", "after the commit"]
    )
    def test_killed_at_any_moment_it_loses_and_doubles_nothing(
        self, moment: str, start: Callable[..., subprocess.Popen[bytes]]
    ) -> None:
        self.deployment.start_job("j", self.storage("one"))
        sent = self.deployment.send("j", accounts(12), 15)
        commit = "sinks.commits:Commits.commit"
        strike = {
            "before storing": (self.store[0], "before", "2"),
            "after storing": (self.store[1], "after", "2"),
            "before the commit": (commit, "before", "1"),
            "after the commit": (commit, "after", "1"),
        }[moment]
        victim = start(*strike, "KILL")
        assert victim.wait(60) == -signal.SIGKILL
        sent += self.deployment.send("j", accounts(3, "later"), 10)
        successor = start()
        self.deployment.drain(self.kind)
        successor.terminate()
        assert successor.wait(30) == 0
        self.assert_stored("one", sent)

    @pytest.mark.parametrize("kills", [["1", "1"], ["4"]])
    def test_killed_between_two_jobs_it_leaves_neither_short(
        self, kills: list[str], start: Callable[..., subprocess.Popen[bytes]]
    ) -> None:
        """One job's rows are stored, the other's, which lie between them, are not."""
        self.deployment.start_job("j1", self.storage("one"))
        self.deployment.start_job("j2", self.storage("two"))
        one, two = list[Sent](), list[Sent]()
        for i in range(6):
            one += self.deployment.send("j1", accounts(4, f"x{i}"), 5)
            two += self.deployment.send("j2", accounts(4, f"y{i}"), 5)
        for nth in kills:
            victim = start(self.store[1], "after", nth, "KILL")
            assert victim.wait(60) == -signal.SIGKILL
        one += self.deployment.send("j1", accounts(2, "x"), 5)
        successor = start()
        self.deployment.drain(self.kind)
        successor.terminate()
        assert successor.wait(30) == 0
        self.assert_stored("one", one)
        self.assert_stored("two", two)

    def test_an_owner_that_stood_still_changes_nothing_when_it_goes_on(
        self, start: Callable[..., subprocess.Popen[bytes]]
    ) -> None:
        self.deployment.start_job("j", self.storage("one"))
        sent = self.deployment.send("j", accounts(12), 15)
        first = start(self.store[0], "before", "1", "STOP")
        assert first.stdout is not None
        assert first.stdout.readline() == b"struck\n"
        start()
        self.deployment.drain(self.kind)
        sent += self.deployment.send("j", accounts(3, "later"), 10)
        first.send_signal(signal.SIGCONT)
        assert first.wait(60) == EXIT_CODE
        self.deployment.drain(self.kind)
        self.assert_stored("one", sent)

    def test_two_share_the_partitions_and_one_takes_over(
        self, start: Callable[..., subprocess.Popen[bytes]]
    ) -> None:
        self.deployment.start_job("j", self.storage("one"))
        processes = [start(), start()]
        sent = list[Sent]()
        for i in range(5):
            sent += self.deployment.send("j", accounts(9, f"b{i}"), 5)
        self.deployment.drain(self.kind)
        processes[0].terminate()
        sent += self.deployment.send("j", accounts(9, "c"), 5)
        assert processes[0].wait(30) == 0
        self.deployment.drain(self.kind)
        self.assert_stored("one", sent)

    def test_told_to_stop_it_leaves_nothing_to_redo(
        self, start: Callable[..., subprocess.Popen[bytes]]
    ) -> None:
        self.deployment = self.unhurried()
        self.deployment.start_job("j", self.storage("one"))
        sent = self.deployment.send("j", accounts(12), 15)
        process = start(self.add, "after", str(len(sent)), "CONT")
        assert process.stdout is not None
        assert process.stdout.readline() == b"struck\n"  # it has read the last row, and holds it
        process.terminate()
        assert process.wait(30) == 0
        assert self.deployment.committed_rows(self.kind)
        self.assert_stored("one", sent)

    @abstractmethod
    def unhurried(self) -> Deployment:
        """A deployment that flushes neither by age nor by size."""

    def test_rows_of_an_ended_job_are_stored_at_once(self) -> None:
        self.deployment = self.unhurried()
        self.deployment.start_job("j", self.storage("one"))
        with self.deployment.running(self.run) as alive:
            sent = self.deployment.send("j", accounts(12), 15)
            self.deployment.end_job("j")
            self.deployment.drain(self.kind, alive)
            self.assert_stored("one", sent)

    def test_what_is_no_record_event_is_a_dead_letter_once(self) -> None:
        self.deployment.start_job("j", self.storage("one"))
        sent = self.deployment.send("j", accounts(4), 5)
        self.deployment.send_raw("did:plc:bad", b"{", b"\xff\xfe", b'{"kind":"commit"}', b"")
        sent += self.deployment.send("j", accounts(4, "b"), 5)
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
        self.assert_stored("one", sent)
        found = self.deployment.dead_letters()
        assert [(letter.stage, letter.reason, letter.did) for letter in found] == [
            ("sink", "ValidationError", "did:plc:bad")
        ] * 4
        assert [letter.payload for letter in found] == ["{", None, '{"kind":"commit"}', ""]
        assert found[1].block == "//4="

    def test_rows_of_an_unknown_job_are_dead_letters_by_account(self) -> None:
        self.deployment.start_job("j", self.storage("one"))
        self.deployment.send("ghost", accounts(2), 5)
        sent = self.deployment.send("j", accounts(2), 5)
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
        self.assert_stored("one", sent)
        found = self.deployment.dead_letters()
        assert sorted((letter.reason, letter.job_id, letter.did) for letter in found) == [
            ("UnknownJob", "ghost", did) for did in accounts(2)
        ]

    def test_a_job_that_starts_later_is_known_in_time(self) -> None:
        self.deployment.start_job("j", self.storage("one"))
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
            self.deployment.start_job("late", self.storage("two"))
            sent = self.deployment.send("late", accounts(5), 5)
            self.deployment.drain(self.kind, alive)
        self.assert_stored("two", sent)
        assert self.deployment.dead_letters() == []
