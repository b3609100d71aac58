"""`status --watch`: rates and the time left, drawn on a terminal, in lines elsewhere. Unknown is never 0."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from cli.backend import Standing
from cli.host_groups import host_groups
from cli.standing import status_with_reasons
from cli.summary import left_out_text
from cli.watch import NO_RATES, WatchDisplay, rates_text, time_left
from messaging import clients
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.topics import end_offsets
from schemas.explain import explain
from schemas.job_status import UNRESOLVED, Counts, JobHost, JobStatus
from schemas.outcomes import RepoOutcome
from schemas.rates import HostRates, JobRates, RateWindow
from schemas.settings import KafkaSettings
from tests.cli.command import EXECUTABLE, Skyfill, until


def job(**changes: Any) -> JobStatus:
    plain = {
        "job_id": "a-0123",
        "status": "processing",
        "total": 4000,
        "plan_finished": True,
        "totals": Counts(completed=1000, records=10_000),
        "updated_at": datetime.now(UTC),
    }
    return JobStatus.model_validate(plain | changes)


def window(seconds: int, repositories: int, **more: Any) -> RateWindow:
    return RateWindow(
        seconds=seconds,
        covered_seconds=seconds,
        repositories=repositories,
        repositories_per_second=repositories / seconds,
        records_per_second=10 * repositories / seconds,
        **more,
    )


def rates(minute: int, five: int, hour: int, **more: Any) -> JobRates:
    windows = [window(60, minute, **more), window(300, five), window(3600, hour)]
    return JobRates(job_id="a-0123", windows=windows, updated_at=datetime.now(UTC))


@pytest.mark.parametrize(
    ("standing", "pace", "said"),
    [
        (job(), rates(60, 600, 600), "about 50 min"),  # 3,000 outstanding, 1 a second
        (job(), rates(0, 600, 600), "about 25 min"),  # the last minute had none
        (job(), rates(0, 0, 1), "about 125 d"),
        (job(total=1001), rates(6000, 6000, 6000), "about 1 s"),
        (job(), rates(0, 0, 0), "unknown"),
        (job(), None, "unknown"),
        (job(plan_finished=False), rates(60, 60, 60), "unknown"),
        (job(status="paused"), rates(60, 60, 60), "unknown"),
        (job(total=1000), rates(60, 60, 60), "unknown"),
        (job(status="complete", total=1000), rates(60, 60, 60), "unknown"),
    ],
)
def test_the_time_left(standing: JobStatus, pace: JobRates | None, said: str) -> None:
    assert time_left(standing, pace) == said


def test_a_line_has_the_last_minute_and_the_time_left() -> None:
    assert rates_text(job(), rates(60, 600, 600)) == (
        "1.0 repositories/s, 10 records/s, time left: about 50 min"
    )
    assert rates_text(job(), None) == NO_RATES
    assert rates_text(job(status="paused"), None) == ""
    assert rates_text(job(status="complete"), rates(60, 60, 60)) == ""


def drawn(standing: JobStatus, pace: JobRates | None, hosts: dict[str, JobHost] | None = None) -> str:
    """What a terminal of 110 columns shows."""
    console = Console(file=io.StringIO(), force_terminal=True, width=110, height=40, color_system=None)
    whole = Standing(standing, explain(standing), pace, hosts or {})
    console.print(WatchDisplay(console).drawing(whole))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_windows_errors_and_busiest_hosts_are_drawn() -> None:
    hosts = {f"https://{n}.test": HostRates(records_per_second=n, mean_seconds=0.25) for n in range(9, 0, -1)}
    errors = {"network_error": 5, "timeout_error": 7, "fetch_failed": 1, "rate_limit_error": 9}
    pace = rates(120, 600, 600, p50_seconds=0.75, p99_seconds=12.34, errors=errors, hosts=hosts)
    lines = drawn(job(), pace).splitlines()
    assert "a-0123  processing" in lines[0]
    assert "1,000 of 4,000 accounts" in lines[1]
    assert "time left: about 25 min" in lines[1]
    minute, five, hour = (next(line for line in lines if line.startswith(n)) for n in ("1 m", "5 m", "1 h"))
    assert minute.split()[2:4] == ["20", "2.0"]
    for text in ("750 ms", "12 s", "9 rate_limit_error, 7 timeout_error, …"):
        assert text in minute
    assert five.split()[2:4] == ["20", "2.0"]
    assert hour.split()[2:4] == ["2", "0.2"]
    assert hour.count("–") == 2
    shown = [line.split()[0] for line in lines if line.startswith("https://")]
    assert shown == [f"https://{n}.test" for n in (9, 8, 7, 6, 5)]


def test_what_the_source_held_beside_accounts_is_told_everywhere() -> None:
    standing = job(left_out={"moved": 1200, "host_unreachable": 2})
    told = "left out of the source: 2 host_unreachable, 1,200 moved"
    assert told in drawn(standing, None)
    assert told in status_with_reasons(standing)
    assert left_out_text(standing) == told
    assert "left out" not in status_with_reasons(job()) + drawn(job(), None)


def test_without_rates_it_says_what_to_start_and_shows_no_zeros() -> None:
    text = drawn(job(), None)
    assert NO_RATES in text
    assert "time left: unknown" in text
    assert "/s" not in text
    assert NO_RATES not in drawn(job(status="paused"), None)


def page(host: str, planned: int, done: int, failed: int = 0) -> JobHost:
    counts = Counts(completed=done - failed, failed=failed)
    return JobHost(job_id="a-0123", host=host, planned=planned, counts=counts)


def test_hosts_of_one_domain_have_one_bar_and_the_small_ones_another() -> None:
    many = [page(f"https://h{n}.host.bsky.network", 100, 50, 5) for n in range(4)]
    few = [page(f"https://pds.number{n}.example", 20 - n, 20 - n) for n in range(9)]
    short = [page("https://one.test", 3, 1), page("https://two.test", 2, 1)]
    bare = [page("http://10.0.0.1:8080", 1, 0), page("http://10.0.0.2:8080", 1, 0)]
    pages = {one.host: one for one in [*few, *many, *short, *bare, page(UNRESOLVED, 1, 1, 1)]}
    groups = host_groups(pages)
    assert [(group.name, group.hosts) for group in groups[:2]] == [
        ("*.host.bsky.network", 4),
        ("pds.number0.example", 1),
    ]
    assert [group.name for group in groups[7:]] == ["pds.number6.example", "the rest"]
    rest = groups[8]
    assert (rest.hosts, rest.planned, rest.done, rest.failed) == (7, 13 + 12 + 3 + 2 + 1 + 1 + 1, 28, 1)
    assert sum(group.planned for group in groups) == sum(one.planned for one in pages.values())
    assert [group.name for group in host_groups({one.host: one for one in bare})] == [
        "10.0.0.1:8080",
        "10.0.0.2:8080",
    ]
    lines = drawn(job(), None, pages).splitlines()
    bar = next(line for line in lines if "*.host.bsky.network" in line)
    assert bar.split()[2:] == ["200", "of", "400", "4", "hosts", "20", "failed"]
    assert sum(" of " in line and "accounts" not in line for line in lines) == 9


class Broker:
    """Writes what tracker and workers would, and sees what the rates process does."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self._names = Names(prefix)
        settings = KafkaSettings(bootstrap_servers=kafka)
        self._producer, self._admin = clients.producer(settings), clients.admin(settings)

    def status(self, **changes: Any) -> None:
        self._send(self._names.job_status, job(**changes).encode())

    def outcomes(self, number: int) -> None:
        for at in range(number):
            one = RepoOutcome(job_id="a-0123", did=f"did:plc:{at}", host="https://a.test", status="completed")
            self._send(self._names.outcomes, one.encode())

    def rates(self) -> int:
        """Messages about rates so far."""
        return end_offsets(self._admin, self._names.rates, [0], committed=False)[0]

    def _send(self, topic: str, value: bytes) -> None:
        self._producer.produce(topic, value, b"a-0123", partition_for("a-0123", 1))
        assert self._producer.flush(30) == 0


@pytest.fixture
def broker(kafka: str, prefix: str, skyfill: Skyfill) -> Broker:
    assert skyfill.run("topics", "create").code == 0
    return Broker(kafka, prefix)


@pytest.fixture
def moving(skyfill: Skyfill, broker: Broker) -> Iterator[None]:
    """A rates process that has counted 30 repositories."""
    process = skyfill.start("rates")
    broker.outcomes(30)
    until(broker.rates)
    yield
    ended = process.end(signal.SIGTERM)
    assert (ended.code, ended.out) == (0, "")
    assert "Traceback" not in ended.err


def test_lines_tell_that_no_rates_are_made(skyfill: Skyfill, broker: Broker) -> None:
    broker.status()
    watching = skyfill.start("status", "a-0123", "--watch")
    assert watching.process.stdout is not None
    assert watching.process.stdout.readline().endswith(f"10,000 records; {NO_RATES}\n")
    broker.status(status="complete", total=1000)
    ended = watching.wait()
    assert (ended.code, "/s" in ended.out, "no rates" in ended.out) == (0, False, False)


@pytest.mark.usefixtures("moving")
def test_lines_have_rates_where_they_are_made(skyfill: Skyfill, broker: Broker) -> None:
    broker.status()
    watching = skyfill.start("status", "a-0123", "--watch")
    assert watching.process.stdout is not None
    seen = 0
    while not re.search(
        r"\d repositories/s, \d+ records/s, time left: about", watching.process.stdout.readline()
    ):
        seen += 1
        broker.status(total=4000 + seen)  # a line for each change
        assert seen < 300
    broker.status(status="complete", total=1000)
    assert watching.wait().code == 0


@pytest.mark.usefixtures("moving")
def test_a_terminal_shows_rates_in_place_and_is_left_clean(skyfill: Skyfill, broker: Broker) -> None:
    broker.status()
    master, slave = pty.openpty()
    env = {**skyfill.env, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [str(EXECUTABLE), "status", "a-0123", "--watch"]
    watching = subprocess.Popen(command, cwd=skyfill.folder, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    while b"busiest hosts" not in seen:
        seen += os.read(master, 65536)
    for text in (b"repositories/s", b"1 min", b"5 min", b"1 h", b"https://a.test", b"time left: "):
        assert text in seen
    broker.status(status="complete", total=1000)
    with contextlib.suppress(OSError):  # how Linux tells that the other side is closed
        while more := os.read(master, 65536):
            seen += more
    os.close(master)
    assert watching.wait(30) == 0
    drawn, _, rest = seen.rpartition(b"\x1b[1A\x1b[2K")
    assert b"\x1b[?25h" in drawn
    assert rest.strip().startswith(b"a-0123: complete, 1,000 of 1,000 accounts")


@pytest.mark.usefixtures("moving")
def test_json_is_the_status_and_nothing_else(skyfill: Skyfill, broker: Broker) -> None:
    broker.status(status="complete", total=1000)
    ended = skyfill.run("status", "a-0123", "--watch", "--json")
    assert ended.code == 0
    told = JobStatus.model_validate_json(ended.out)
    assert told.status == "complete"
