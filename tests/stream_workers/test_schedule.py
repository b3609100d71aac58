"""The schedule: nothing starves, nothing runs twice, nothing is forgotten but what is taken away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from schemas.job_specs import JobSpec
from stream_workers.fetch.schedule import Schedule, Work
from tests.stream_workers.documents import job_spec, work

NOW = 1_800_000_000.0
ONE, TWO, THREE = (f"https://{name}.test" for name in ("one", "two", "three"))


def schedule(**limits: Mapping[str, int]) -> Schedule:
    """A schedule for these jobs, each with its limits; a job that is not named has the defaults."""
    specs: dict[str, JobSpec] = {
        name: job_spec(name, processing=dict(given)) for name, given in limits.items()
    }
    return Schedule(specs.get)


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


def test_a_cancelled_jobs_deferred_tasks_are_ready_at_once() -> None:
    under_test = schedule()
    cancelled, other = work("a", job="cancelled"), work("b", job="other")
    under_test.defer(cancelled, NOW + 300)
    under_test.defer(other, NOW + 300)
    assert under_test.deferred_jobs() == {"cancelled", "other"}
    under_test.hasten("cancelled")
    assert drain(under_test) == [cancelled]
    assert under_test.deferred_jobs() == {"other"}


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
