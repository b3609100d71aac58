"""What goes away: the tasks of a host that is given up, and those of closed hosts that fill a window."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from messaging.names import Names
from schemas.hosts import HostState
from schemas.job_specs import JobSpec
from stream_workers.fetch.clearing import Clearing
from stream_workers.fetch.ending import Failed, GivenUp, Requeued
from stream_workers.fetch.hosts import Host, Hosts
from stream_workers.fetch.metrics import HostMetrics
from stream_workers.fetch.schedule import Schedule, Work
from tests.stream_workers.documents import job_spec, work

NOW = 1_800_000_000.0
ONE, TWO = "https://one.test", "https://two.test"
PATIENCE, WINDOW = 600.0, 8


class Worker:
    """What a worker has of schedule, hosts and clearing; `full` partitions are set by hand."""

    def __init__(self) -> None:
        self.now = NOW
        self.specs: dict[str, JobSpec] = {name: job_spec(name) for name in ("a", "b")}
        self.known: dict[str, HostState] = {}
        self.full: dict[str, set[int]] = {}
        self.hosts = Hosts(self.known.get, HostMetrics(), lambda: self.now)
        self.schedule = Schedule(self.spec, self.hosts)
        self.clearing = Clearing(
            Names(""),
            self.schedule,
            self.hosts,
            self,  # type: ignore[arg-type]
            lambda topic: self.full.get(topic, set()),
            HostMetrics(),
            window=WINDOW,
            give_up_seconds=PATIENCE,
        )

    def spec(self, job_id: str) -> JobSpec | None:
        return self.specs.get(job_id)

    def host(self, origin: str = ONE) -> Host:
        return self.hosts.of(origin, 0)

    def add(self, *works: Work) -> None:
        for each in works:
            self.hosts.expect(each.did_task, 0)
            self.schedule.add(each, self.now)

    def fail(self, origin: str = ONE) -> None:
        """As many goes that find nobody there as open a breaker."""
        ending = Failed("failed", "network_error", "HostUnreachable", "", host="never_connected")
        for number in range(5):
            self.host(origin).heard(work(f"did:{number}", host=origin).did_task, ending, self.now)

    def look(self) -> list[tuple[Work, Requeued | GivenUp]]:
        if probe := self.schedule.next_work(self.now):
            self.schedule.done(probe)  # it has failed, and waits again
            self.schedule.again(probe)
        return list(self.clearing.look(self.now))

    def later(self, seconds: float) -> None:
        """Time passes, with a probe every few minutes."""
        for _ in range(int(seconds // 300)):
            self.now += 300
            self.fail()
        self.now += seconds % 300


@pytest.fixture
def worker() -> Worker:
    return Worker()


def down(worker: Worker, jobs: str = "a", accounts: int = 5) -> None:
    worker.add(*[work(f"{job}/{n}", job=job) for job in jobs for n in range(accounts)])
    worker.fail()


def letters(found: list[tuple[Work, Requeued | GivenUp]]) -> list[tuple[str, int]]:
    return [
        (gone.did_task.job_id, ending.accounts)
        for gone, ending in found
        if isinstance(ending, GivenUp) and ending.accounts is not None
    ]


def test_a_host_is_given_up_after_its_time_with_one_letter_for_each_job(worker: Worker) -> None:
    down(worker, "ab")
    worker.add(work("a/deferred", job="a", not_before=NOW + 1e6), work("elsewhere", job="a", host=TWO))
    worker.hosts.of(TWO, 0).breaker.retry_at = NOW + 1e6
    worker.later(PATIENCE - 1)
    assert worker.look() == []
    worker.later(1)
    found = worker.look()
    assert len(found) == 11
    assert sorted(letters(found)) == [("a", 6), ("b", 5)]
    assert all(isinstance(ending, GivenUp) and ending.failing_since == NOW for _, ending in found)
    assert ONE not in worker.schedule.jobs_by_host()
    assert worker.schedule.jobs_by_host()[TWO] == {"a"}


def test_those_who_come_later_end_without_another_letter_while_it_is_down(worker: Worker) -> None:
    down(worker)
    worker.later(PATIENCE)
    worker.look()
    worker.later(5)
    worker.add(work("late", job="a"))
    assert [(gone.did_task.did, letters([(gone, e)])) for gone, e in worker.look()] == [("late", [])]


def test_a_replay_has_the_host_asked_once_more(worker: Worker) -> None:
    """What is replayed once the host answers again must not end unasked, as what came before did."""
    down(worker)
    worker.later(PATIENCE)
    worker.look()
    worker.later(5)
    worker.add(work("a/0", job="a", replay=1), work("a/1", job="a", replay=1))
    assert worker.look() == []
    worker.fail()
    worker.later(1)
    assert letters(worker.look()) == [("a", 2)], "given up anew, with a letter that may be replayed"
    worker.later(5)
    worker.add(work("a/2", job="a", replay=1))
    assert [gone.did_task.did for gone, _ in worker.look()] == ["a/2"]


def test_a_job_that_came_after_the_last_probe_waits_for_the_next(worker: Worker) -> None:
    down(worker)
    worker.later(PATIENCE + 60)
    worker.look()
    worker.add(work("new", job="b"))
    worker.later(60)
    assert worker.look() == []
    worker.fail()
    worker.later(1)
    assert letters(worker.look()) == [("b", 1)]


def test_a_host_that_answers_again_begins_anew(worker: Worker) -> None:
    down(worker)
    worker.later(PATIENCE)
    worker.look()
    worker.host().heard(
        work("x").did_task, Failed("unavailable", "data_unavailable", "", "", host="answered"), 0
    )
    worker.later(5)
    down(worker)
    worker.later(5)
    assert worker.look() == []
    worker.later(PATIENCE)
    assert letters(worker.look()) == [("a", 5)]


def test_the_documents_patience_goes_before_the_workers(worker: Worker) -> None:
    worker.specs["a"] = job_spec("a", processing={"host_give_up_seconds": 7})
    down(worker, "ab")
    worker.later(8)
    assert letters(worker.look()) == [("a", 5)]


def test_a_host_that_only_ever_refuses_is_given_up_too(worker: Worker) -> None:
    worker.add(work("a/0", job="a"))
    host = worker.host()
    for minute in range(12):
        worker.now = NOW + 60 * minute
        budget = host.limiter.budget
        before = budget.refusals
        budget.refused(budget.sent("getRepo", worker.now), {}, 90.0, worker.now)
        host.paused(before)
    assert letters(worker.look()) == [("a", 1)]


def test_a_paused_jobs_tasks_are_not_given_up(worker: Worker) -> None:
    down(worker)
    worker.later(PATIENCE)
    worker.specs["a"] = job_spec("a", "paused")
    assert list(worker.clearing.look(worker.now)) == []


def restarted(worker: Worker, *, commits: int) -> Worker:
    """The next owner, with what this one wrote."""
    other = Worker()
    other.now = worker.now
    state = worker.host().state(commits=commits)
    other.known[ONE] = HostState.decode(state.encode())
    return other


def test_an_outage_goes_on_over_a_restart(worker: Worker) -> None:
    down(worker)
    worker.later(PATIENCE - 60)
    other = restarted(worker, commits=1)
    other.add(work("a/0", job="a"))
    other.now += 61
    assert list(other.clearing.look(other.now)) == []  # it has not tried itself yet
    other.fail()
    other.now += 1
    assert letters(list(other.clearing.look(other.now))) == [("a", 1)]


@pytest.mark.parametrize("committed", [False, True])
def test_a_letter_is_remembered_once_its_transaction_is_committed(worker: Worker, committed: bool) -> None:
    down(worker)
    worker.later(PATIENCE)
    gone = worker.look()[0][0]
    assert worker.host().state(commits=7).given_up == []  # it is on its way
    worker.hosts.letter_published(gone.did_task, 7)
    other = restarted(worker, commits=8 if committed else 7)
    other.add(work("a/9", job="a"))
    other.fail()
    other.now += 1
    found = list(other.clearing.look(other.now))
    assert len(found) == 1
    assert letters(found) == ([] if committed else [("a", 1)])


# Windows


def crowd(worker: Worker, count: int, topic: str = "dids", host: str = ONE) -> list[Work]:
    works = [
        work(f"{host}/{topic}/{n}", job="a", host=host, topic=topic, partition=3, offset=n)
        for n in range(count)
    ]
    worker.add(*works)
    return works


@pytest.mark.parametrize("topic", ["dids", "dids.retry"])
def test_a_closed_host_that_fills_a_window_makes_room(worker: Worker, topic: str) -> None:
    works = crowd(worker, 4, topic)
    few = crowd(worker, 1, topic, TWO)
    worker.host(TWO).breaker.retry_at = NOW + 50
    worker.fail()
    worker.now += 2
    assert worker.look() == []  # the window has room
    worker.full[topic] = {3}
    worker.now += 1
    found = worker.look()
    assert [gone for gone, _ in found] == works  # the oldest first: they hold up the commit
    due = datetime.fromtimestamp(worker.host().breaker.retry_at, UTC)
    for gone, ending in found:
        assert isinstance(ending, Requeued)
        assert ending.task == gone.did_task.model_copy(update={"not_before": due})
    assert ONE not in worker.schedule.jobs_by_host()
    assert worker.schedule.jobs_by_host()[TWO] == {"a"}
    assert few[0] not in [gone for gone, _ in found]


def test_a_host_with_its_share_of_a_full_window_stays(worker: Worker) -> None:
    crowd(worker, 1)
    worker.fail()
    worker.full["dids"] = {3}
    worker.now += 2
    assert worker.look() == []


def test_an_open_hosts_tasks_are_never_sent_away(worker: Worker) -> None:
    crowd(worker, 8)
    worker.full["dids"] = {3}
    running: list[Any] = []
    while found := worker.schedule.next_work(worker.now):
        running.append(found)
    assert running
    assert list(worker.clearing.look(worker.now)) == []


def test_another_partition_is_not_cleared(worker: Worker) -> None:
    crowd(worker, 8)
    worker.fail()
    worker.full["dids"] = {2}
    worker.now += 2
    assert worker.look() == []


def test_clearing_takes_its_time(worker: Worker) -> None:
    crowd(worker, 4)
    worker.fail()
    worker.full["dids"] = {3}
    worker.now += 2
    assert len(worker.look()) == 4
    crowd(worker, 4)
    worker.now += 2
    assert worker.look() == []  # what was sent away has to arrive first
    worker.host().breaker.retry_at = worker.now + 60
    worker.schedule.look_again()
    worker.now += 9
    assert len(worker.look()) == 4
