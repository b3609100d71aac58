"""Turns at one host: the jobs' paces, fairness, patience. By a clock that only moves when somebody sleeps."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from atp.limiter import HostLimiter, HostPaused, Turn
from benchmarks.compressed_time import run
from schemas.errors import HostTimeout, RateLimited, RepoNotFound
from tests.atp.test_advertised import told

START = 1_800_000_000.0


class Clock:
    """Seconds since 1970, moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> HostLimiter:
    return HostLimiter(clock, clock.sleep)


def loop_time() -> float:
    return START + asyncio.get_running_loop().time()


async def spend(limiter: HostLimiter, headers: dict[str, str], kind: str = "getRepo") -> None:
    """A request and its answer."""
    async with limiter.turn(kind, "spender", 1e6) as turn:
        turn.answered(headers)


# The job's own pace


async def test_a_job_keeps_its_pace(limiter: HostLimiter, clock: Clock) -> None:
    times = []
    for _ in range(5):
        async with limiter.turn("getRepo", "job", 4):
            times.append(clock.now - START)
    assert times == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_many_that_wait_together_keep_the_pace_too() -> None:
    async def story() -> list[float]:
        limiter, times = HostLimiter(loop_time), []

        async def one() -> None:
            async with limiter.turn("getRepo", "job", 4):
                times.append(loop_time())
                await asyncio.sleep(3)

        await asyncio.gather(*[one() for _ in range(9)])
        return times

    assert [later - earlier for earlier, later in pairwise(run(story()))] == pytest.approx([0.25] * 8)


async def test_idle_time_is_not_saved_up(limiter: HostLimiter, clock: Clock) -> None:
    for _ in range(2):
        async with limiter.turn("getRepo", "job", 4):
            before = clock.now
        clock.now += 60
    async with limiter.turn("getRepo", "job", 4):
        pass
    async with limiter.turn("getRepo", "job", 4):
        assert clock.now - before == pytest.approx(60.25)


# Several jobs


def shares(*jobs: tuple[str, int, float], seconds: float = 100) -> Counter[str]:
    """What jobs get of a host that takes 100 requests in each 10 s: (name, lanes, own pace)."""

    async def story() -> Counter[str]:
        limiter, had, window = HostLimiter(loop_time), Counter[str](), [0.0, 0]

        async def lane(job: str, rate: float) -> None:
            while True:
                async with limiter.turn("getRepo", job, rate) as turn:
                    if loop_time() >= window[0]:
                        window[:] = [loop_time() + 10, 0]
                    window[1] += 1
                    had[job] += 1
                    assert window[1] <= 100
                    await asyncio.sleep(0.05)
                    left, ends = int(100 - window[1]), math.ceil(window[0] - loop_time())
                    turn.answered(told(left, ends, policy="100;w=10"))

        lanes = [asyncio.create_task(lane(job, rate)) for job, count, rate in jobs for _ in range(count)]
        await asyncio.sleep(seconds)
        for each in lanes:
            each.cancel()
        ended = await asyncio.gather(*lanes, return_exceptions=True)
        assert {type(each) for each in ended} == {asyncio.CancelledError}
        return had

    return run(story())


def test_a_job_alone_gets_all() -> None:
    assert shares(("one", 8, 1000))["one"] >= 900


def test_jobs_that_wait_take_turns() -> None:
    had = shares(("one", 8, 1000), ("two", 8, 1000))
    assert had.total() >= 900
    assert abs(had["one"] - had["two"]) <= 0.02 * had.total()


def test_a_fast_job_leaves_a_slow_one_what_that_can_use() -> None:
    """In each window of 10 s and 100 requests it has time for 30."""
    had = shares(("slow", 4, 3), ("fast", 8, 1000))
    assert had["slow"] >= 0.9 * 300
    assert had.total() >= 900


def test_a_fast_job_gets_no_more_than_its_share_beside_one_that_can_use_its_own() -> None:
    had = shares(("paced", 8, 12), ("fast", 8, 1000))
    assert had["paced"] >= 0.85 * 500
    assert had.total() >= 900


def test_turns_go_by_what_each_had_and_not_by_how_many_wait() -> None:
    async def story() -> list[str]:
        limiter, order = HostLimiter(loop_time), list[str]()
        await spend(limiter, told(0, 10))

        async def one(job: str) -> None:
            async with limiter.turn("getRepo", job, 1e6):
                order.append(job)

        await asyncio.gather(*[one(job) for job in ["many"] * 12 + ["few"] * 4])
        return order

    order = run(story())
    assert Counter(order[:8]) == Counter(many=4, few=4)
    assert len(order) == 16


async def test_who_comes_later_does_not_catch_up(limiter: HostLimiter, clock: Clock) -> None:
    for _ in range(50):
        await spend(limiter, {})
    await spend(limiter, told(0, 10))
    order: list[str] = []

    async def one(job: str) -> None:
        async with limiter.turn("getRepo", job, 1e6):
            order.append(job)

    asked = [asyncio.create_task(one(job)) for job in ("spender", "late") * 4]
    await asyncio.gather(*asked)
    assert [Counter(order[i : i + 2]) for i in (0, 2, 4, 6)] == [Counter(spender=1, late=1)] * 4


# Going away


async def test_a_visitor_goes_away_from_a_long_pause(limiter: HostLimiter, clock: Clock) -> None:
    await spend(limiter, told(0, 30))
    with pytest.raises(HostPaused) as paused:
        async with limiter.visit(5).turn("getRepo", "job", 10):
            pytest.fail("it was let in")
    assert paused.value.until == pytest.approx(START + 30)
    assert clock.now == START


async def test_a_visitor_waits_for_a_short_pause_and_for_the_jobs_own_pace(
    limiter: HostLimiter, clock: Clock
) -> None:
    await spend(limiter, told(0, 4))
    async with limiter.visit(5).turn("getRepo", "job", 0.01):
        assert clock.now == pytest.approx(START + 4)
    async with limiter.visit(5).turn("getRepo", "job", 0.01):
        assert clock.now == pytest.approx(START + 104)


async def test_a_visitor_who_began_goes_on_through_any_pause(limiter: HostLimiter, clock: Clock) -> None:
    visit = limiter.visit(5)
    async with visit.turn("listRecords", "job", 10) as turn:
        turn.answered(told(0, 30))
    async with visit.turn("listRecords", "job", 10):
        assert clock.now == pytest.approx(START + 30)


async def test_a_visitor_who_was_refused_has_not_begun(limiter: HostLimiter) -> None:
    visit = limiter.visit(5)
    with pytest.raises(RateLimited):
        async with visit.turn("getRepo", "job", 10):
            raise RateLimited("429", 60.0, {})
    with pytest.raises(HostPaused):
        async with visit.turn("getRepo", "job", 10):
            pass


def test_those_who_wait_already_go_away_when_the_pause_becomes_long() -> None:
    async def story() -> None:
        limiter = HostLimiter(loop_time)
        async with limiter.turn("getRepo", "job", 1) as turn:
            waiting = asyncio.create_task(anext(aiter_of(limiter.visit(5))))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            turn.answered(told(0, 60))
        with pytest.raises(HostPaused):
            await waiting
        assert loop_time() < START + 1

    run(story())


async def aiter_of(limiter: HostLimiter) -> AsyncIterator[Turn]:
    async with limiter.turn("getRepo", "job", 1) as turn:
        yield turn


def test_a_turn_that_is_given_up_is_given_up_at_once_and_takes_nothing() -> None:
    async def story() -> None:
        limiter = HostLimiter(loop_time)
        await spend(limiter, told(0, 60))
        gone = [asyncio.create_task(anext(aiter_of(limiter))) for _ in range(3)]
        other = asyncio.create_task(spend(limiter, {}))
        await asyncio.sleep(1)
        for each in gone:
            each.cancel()
        ended = await asyncio.gather(*gone, return_exceptions=True)
        assert [type(each) for each in ended] == [asyncio.CancelledError] * 3
        assert loop_time() == pytest.approx(START + 1)
        await other
        assert limiter.budget.requests == 2

    run(story())


async def test_a_turn_that_was_just_given_when_it_is_cancelled_is_free_again(limiter: HostLimiter) -> None:
    await spend(limiter, told(1, 60))
    first = limiter.turn("getRepo", "job", 1e6)
    await first.__aenter__()
    waiting = asyncio.create_task(anext(aiter_of(limiter)))
    await asyncio.sleep(0)
    await first.__aexit__(HostTimeout, HostTimeout("silence"), None)  # its place is given to who waits
    waiting.cancel()  # who does not know of it yet
    await asyncio.gather(waiting, return_exceptions=True)
    assert limiter.ready_at("getRepo", START) <= START


# What errors tell


async def test_errors_carry_the_hosts_word(limiter: HostLimiter, clock: Clock) -> None:
    with pytest.raises(RepoNotFound):
        async with limiter.turn("getRepo", "job", 10):
            raise RepoNotFound("gone", told(0, 30))
    assert limiter.ready_at("getRepo", clock.now) == pytest.approx(START + 30)


async def test_no_answer_gives_the_place_back(limiter: HostLimiter, clock: Clock) -> None:
    await spend(limiter, told(1, 30))
    turn = limiter.turn("getRepo", "job", 10)
    await turn.__aenter__()
    assert limiter.ready_at("getRepo", clock.now) > clock.now
    await turn.__aexit__(HostTimeout, HostTimeout("silence"), None)
    assert limiter.ready_at("getRepo", clock.now) <= clock.now


async def test_the_time_waited_is_told(clock: Clock) -> None:
    waits: list[float] = []
    limiter = HostLimiter(clock, clock.sleep, waited=waits.append)
    for _ in range(2):
        async with limiter.turn("getRepo", "job", 0.5):
            pass
    assert waits == pytest.approx([0, 2])


async def test_many_jobs_of_the_past_are_forgotten(limiter: HostLimiter, clock: Clock) -> None:
    for number in range(2000):
        async with limiter.turn("getRepo", f"job-{number}", 10):
            pass
        clock.now += 1
    assert len(limiter._queue._jobs) < 300
