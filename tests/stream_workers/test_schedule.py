"""The schedule: nothing starves, nothing runs twice, nothing is forgotten but what is taken away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from schemas.backfill import Processing
from schemas.dids import DidTask
from schemas.job_specs import JobSpec
from stream_workers.fetch.schedule import Schedule, Work
from tests.stream_workers.documents import job_spec, work

NOW = 1_800_000_000.0
ONE, TWO, THREE = (f"https://{name}.test" for name in ("one", "two", "three"))


class Gates:
    """Hosts that are open and proven, but for those that it names."""

    def __init__(self) -> None:
        self.closed: dict[str, float] = {}
        self.suspects: set[str] = set()

    def ready_at(self, task: DidTask, processing: Processing) -> float:
        return self.closed.get(task.pds, 0.0)

    def is_suspect(self, origin: str) -> bool:
        return origin in self.suspects


def gated(**limits: Mapping[str, int]) -> tuple[Schedule, Gates]:
    """The same with its gates."""
    specs = {name: job_spec(name, processing=dict(given)) for name, given in limits.items()}
    gates = Gates()
    return Schedule(specs.get, gates), gates


def schedule(**limits: Mapping[str, int]) -> Schedule:
    """A schedule for these jobs, each with its limits; a job that is not named has the defaults."""
    specs: dict[str, JobSpec] = {
        name: job_spec(name, processing=dict(given)) for name, given in limits.items()
    }
    return Schedule(specs.get, Gates())


def drain(under_test: Schedule, now: float = NOW) -> list[Work]:
    """All that may run now, one beside the other."""
    found = []
    while (next_work := under_test.next_work(now)) is not None:
        found.append(next_work)
    return found


def dids(works: list[Work]) -> list[str]:
    return [w.did_task.did for w in works]


def test_hosts_come_side_by_side() -> None:
    under_test = schedule()
    for host in (ONE, TWO, THREE):
        for number in range(3):
            under_test.add(work(f"{host}/{number}", host=host), NOW)
    hosts = [w.did_task.pds for w in drain(under_test)]
    assert [set(hosts[i : i + 3]) for i in (0, 3, 6)] == [{ONE, TWO, THREE}] * 3


def test_jobs_take_turns_at_a_host() -> None:
    under_test = schedule()
    for number in range(6):
        under_test.add(work(f"many/{number}", job="many"), NOW)
    for number in range(2):
        under_test.add(work(f"few/{number}", job="few"), NOW)
    jobs = [w.did_task.job_id for w in drain(under_test)]
    assert jobs == ["many", "few", "many", "few", "many", "many", "many", "many"]


def test_a_hosts_tasks_come_in_their_order() -> None:
    under_test = schedule()
    for number in range(5):
        under_test.add(work(f"{number}"), NOW)
    assert dids(drain(under_test)) == ["0", "1", "2", "3", "4"]


def test_an_account_never_runs_twice_at_once() -> None:
    under_test = schedule()
    first, second, other = work("same", job="a"), work("same", job="b"), work("other", job="b")
    elsewhere = work("same", job="c", host=TWO)  # the account moved meanwhile
    for each in (first, second, other, elsewhere):
        under_test.add(each, NOW)
    running = drain(under_test)
    assert sorted(dids(running)) == ["other", "same"]
    assert other in running
    finished = [next(w for w in running if w.did_task.did == "same")]
    for _ in range(2):
        under_test.done(finished[-1])
        (following,) = drain(under_test)
        finished.append(following)
    assert set(finished) == {first, second, elsewhere}
    under_test.done(finished[-1])
    assert drain(under_test) == []


def test_no_more_than_max_concurrent_per_pds() -> None:
    under_test = schedule(job={"max_concurrent_per_pds": 2})
    for number in range(5):
        under_test.add(work(f"1/{number}", job="job", host=ONE), NOW)
        under_test.add(work(f"2/{number}", job="job", host=TWO), NOW)
    running = drain(under_test)
    assert Counter(w.did_task.pds for w in running) == {ONE: 2, TWO: 2}
    under_test.done(running[0])
    (following,) = drain(under_test)
    assert following.did_task.pds == running[0].did_task.pds


def test_a_job_with_a_small_limit_is_not_starved_by_one_with_a_large_one() -> None:
    under_test = schedule(wide={"max_concurrent_per_pds": 4}, narrow={"max_concurrent_per_pds": 1})
    for number in range(40):
        under_test.add(work(f"wide/{number}", job="wide"), NOW)
    running = drain(under_test)
    for number in range(3):
        under_test.add(work(f"narrow/{number}", job="narrow"), NOW)
    seen = []
    while running:
        counts = Counter(w.did_task.job_id for w in running)
        assert counts["narrow"] <= 1
        assert counts.total() <= 4
        under_test.done(running.pop(0))
        following = drain(under_test)
        seen += [w.did_task.job_id for w in following]
        running += following
    assert seen.count("narrow") == 3
    assert max(i for i, job in enumerate(seen) if job == "narrow") < 16


def test_no_more_than_max_concurrent_pds() -> None:
    under_test = schedule(few={"max_concurrent_pds": 2, "max_concurrent_per_pds": 2})
    for number in range(2):
        for host in (ONE, TWO, THREE):
            under_test.add(work(f"{host}/{number}", job="few", host=host), NOW)
    running = drain(under_test)
    assert Counter(w.did_task.pds for w in running) == {ONE: 2, TWO: 2}
    under_test.add(work("another", job="all", host=THREE), NOW)
    assert dids(drain(under_test)) == ["another"]  # the limit is the job's, not the worker's
    for each in [w for w in running if w.did_task.pds == ONE]:
        under_test.done(each)
    assert {w.did_task.pds for w in drain(under_test)} == {THREE}


def test_a_task_waits_until_it_is_due() -> None:
    under_test = schedule()
    late, soon, past = (
        work("late", not_before=NOW + 9),
        work("soon", not_before=NOW + 5),
        work("past", not_before=NOW),
    )
    for each in (late, soon, past):
        under_test.add(each, NOW)
    assert under_test.next_due() == NOW + 5
    assert dids(drain(under_test)) == ["past"]
    assert drain(under_test, NOW + 4.99) == []
    assert dids(drain(under_test, NOW + 5)) == ["soon"]
    assert under_test.next_due() == NOW + 9
    assert dids(drain(under_test, NOW + 100)) == ["late"]
    assert under_test.next_due() is None


def test_a_deferred_task_comes_back() -> None:
    under_test = schedule()
    under_test.defer(work("a"), NOW + 3)
    assert drain(under_test) == []
    assert dids(drain(under_test, NOW + 3)) == ["a"]


def test_a_cancelled_jobs_tasks_are_taken_from_wherever_they_wait() -> None:
    under_test = schedule()
    for job in ("cancelled", "other"):
        under_test.add(work(f"{job}/running", job=job), NOW)
    running = drain(under_test)
    waiting = []
    for job in ("cancelled", "other"):
        ready, deferred, held = (work(f"{job}/{name}", job=job) for name in ("ready", "deferred", "held"))
        under_test.add(ready, NOW)
        under_test.defer(deferred, NOW + 300)
        under_test.hold(held)
        waiting.append({ready, deferred, held})
    assert under_test.waiting_jobs() == {"cancelled", "other"}
    found = under_test.call_off({"cancelled"})
    assert (len(found), set(found)) == (3, waiting[0])
    assert under_test.waiting_jobs() == {"other"}
    for each in running:
        under_test.done(each)
    under_test.release("other")
    assert set(drain(under_test, NOW + 300)) == waiting[1]


def test_held_tasks_wait_for_their_jobs_release() -> None:
    under_test = schedule()
    paused, other = work("a", job="paused"), work("b", job="other")
    for each in (paused, other):
        under_test.add(each, NOW)
    for each in drain(under_test):
        under_test.done(each)
        under_test.hold(each)
    assert sorted(under_test.held_jobs()) == ["other", "paused"]
    assert drain(under_test, NOW + 1e6) == []
    under_test.release("paused")
    assert drain(under_test) == [paused]
    assert under_test.held_jobs() == ["other"]
    under_test.release("unknown")
    assert drain(under_test) == []


def test_tasks_of_partitions_that_went_are_dropped_wherever_they_wait() -> None:
    under_test = schedule(job={"max_concurrent_per_pds": 1})
    running = work("running", job="job", partition=1)
    under_test.add(running, NOW)
    assert drain(under_test) == [running]
    for partition in (1, 2):
        under_test.add(work(f"ready {partition}", job="job", partition=partition), NOW)
        under_test.add(work(f"later {partition}", job="job", not_before=NOW + 5, partition=partition), NOW)
        under_test.hold(work(f"held {partition}", job="job", partition=partition))
    under_test.drop(lambda w: w.task.partition == 2)
    under_test.done(running)
    under_test.release("job")
    left = []
    while works := drain(under_test, NOW + 10):
        left += dids(works)
        for each in works:
            under_test.done(each)
    assert sorted(left) == ["held 2", "later 2", "ready 2"]


def test_the_farthest_are_those_on_hold_then_the_latest() -> None:
    under_test = schedule()
    under_test.add(work("ready"), NOW)
    for seconds in (5, 50, 20):
        under_test.add(work(f"{seconds}", not_before=NOW + seconds), NOW)
    under_test.hold(work("held"))
    assert dids(list(under_test.farthest())) == ["held", "50", "20", "5"]


def test_what_is_withdrawn_is_forgotten_and_nothing_else() -> None:
    under_test = schedule()
    for seconds in (5, 50, 20):
        under_test.add(work(f"{seconds}", not_before=NOW + seconds), NOW)
    held = work("held")
    under_test.hold(held)
    under_test.withdraw(set(list(under_test.farthest())[:2]))
    assert dids(list(under_test.farthest())) == ["20", "5"]
    under_test.release("job")
    assert sorted(dids(drain(under_test, NOW + 100))) == ["20", "5"]


# Hosts that are closed, and suspects


def test_a_closed_hosts_tasks_wait_without_a_place() -> None:
    under_test, gates = gated(job={"max_concurrent_pds": 1})
    gates.closed[ONE] = NOW + 9
    for host in (ONE, TWO):
        under_test.add(work(f"{host}", job="job", host=host), NOW)
    assert dids(drain(under_test)) == [TWO]
    assert under_test.next_due() == NOW + 9
    assert drain(under_test, NOW + 9) == []  # it may go, but the one place is taken
    gates.closed.clear()
    under_test.add(work("more", job="all", host=ONE), NOW)
    assert dids(drain(under_test, NOW + 9)) == ["more"]


def test_a_host_that_opens_early_is_noticed_when_a_task_of_it_ends() -> None:
    under_test, gates = gated()
    first, second = work("1"), work("2")
    under_test.add(first, NOW)
    assert drain(under_test) == [first]
    gates.closed[ONE] = NOW + 300
    under_test.add(second, NOW)
    assert drain(under_test) == []
    gates.closed.clear()
    under_test.done(first)
    assert drain(under_test) == [second]


def test_what_comes_back_from_a_closed_host_is_the_next_there() -> None:
    under_test, gates = gated()
    for number in range(3):
        under_test.add(work(f"{number}"), NOW)
    running = under_test.next_work(NOW)
    assert running is not None
    gates.closed[ONE] = NOW + 9
    under_test.done(running)
    under_test.again(running)
    assert drain(under_test) == []
    gates.closed.clear()
    under_test.look_again()
    assert dids(drain(under_test)) == ["0", "1", "2"]


def test_a_cancelled_jobs_tasks_do_not_wait_for_a_closed_host() -> None:
    specs = {"job": job_spec("job")}
    gates = Gates()
    under_test = Schedule(specs.get, gates)
    gates.closed[ONE] = NOW + 9
    gates.suspects.add(ONE)
    for number in range(3):
        under_test.add(work(f"{number}", job="job"), NOW)
    assert drain(under_test) == []
    specs["job"] = job_spec("job", "cancelled")
    under_test.look_again()
    assert len(drain(under_test)) == 3


def test_a_suspect_has_one_place_and_takes_none_from_the_others() -> None:
    under_test, gates = gated(job={"max_concurrent_pds": 2, "max_concurrent_per_pds": 3})
    suspects = [f"https://suspect-{number}.test" for number in range(9)]
    gates.suspects.update(suspects)
    for number in range(4):
        for host in (*suspects, ONE, TWO, THREE):
            under_test.add(work(f"{host}/{number}", job="job", host=host), NOW)
    running = drain(under_test)
    counted = Counter(w.did_task.pds for w in running)
    assert [counted[host] for host in (ONE, TWO, THREE)] == [3, 3, 0]
    assert [counted[host] for host in suspects] == [1, 1, 1, 1, 0, 0, 0, 0, 0]
    proven = next(w for w in running if w.did_task.pds == suspects[0])
    gates.suspects.discard(suspects[0])
    under_test.done(proven)
    following = Counter(w.did_task.pds for w in drain(under_test))
    assert following == {suspects[4]: 1}  # what proved itself needs a place among the proven


def test_all_of_a_job_at_a_host_can_be_taken_away() -> None:
    under_test, _ = gated()
    mine = [work("ready", job="a"), work("later", job="a", not_before=NOW + 50)]
    others = [work("other job", job="b"), work("other host", job="a", host=TWO)]
    for each in (*mine, *others):
        under_test.add(each, NOW)
    assert under_test.jobs_by_host() == {ONE: {"a", "b"}, TWO: {"a"}}
    unheard = ("https://unheard.test", "a")
    taken = under_test.take_all([(ONE, "a"), unheard])
    assert {pair: set(works) for pair, works in taken.items()} == {(ONE, "a"): set(mine), unheard: set()}
    assert under_test.jobs_by_host() == {ONE: {"b"}, TWO: {"a"}}
    assert set(drain(under_test, NOW + 100)) == set(others)


def test_whether_others_are_at_a_host() -> None:
    under_test, _ = gated(job={"max_concurrent_per_pds": 1})
    first, same, other = work("x", job="job"), work("x", job="job"), work("y", job="job")
    under_test.add(first, NOW)
    drain(under_test)
    assert not under_test.others_at(first)
    under_test.add(same, NOW)
    assert not under_test.others_at(first)
    under_test.add(other, NOW)
    assert under_test.others_at(first)


def test_who_crowds_a_partition() -> None:
    under_test, gates = gated()
    gates.closed |= {ONE: NOW + 9, TWO: NOW + 5}
    late = [work(f"late {n}", host=ONE, partition=1, offset=9 - n) for n in range(3)]
    for each in (*late, work("elsewhere", host=ONE, partition=2), work("open", host=THREE, partition=1)):
        under_test.add(each, NOW)
    under_test.add(work("two", host=TWO, partition=1), NOW)
    drain(under_test)
    crowds = dict(under_test.crowding("dids", 1, NOW))
    assert crowds[NOW + 9] == list(reversed(late))
    assert dids(crowds[NOW + 5]) == ["two"]
    assert under_test.crowding("dids", 3, NOW) == under_test.crowding("dids.retry", 1, NOW) == []
