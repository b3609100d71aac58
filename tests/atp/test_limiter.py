"""The limiter of one host, by a clock that only moves when it is told to, or when somebody sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise

import pytest

from atp.limiter import HostLimiter

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


def told(remaining: int, reset: float, *, limit: int = 100, date: float | None = None) -> dict[str, str]:
    """What a host says of its window; `date` as its clock has it."""
    headers = {
        "RateLimit-Limit": str(limit),
        "RateLimit-Remaining": str(remaining),
        "RateLimit-Reset": f"{reset:.0f}",
        "RateLimit-Policy": f"{limit};w=300",
    }
    if date is not None:
        headers["Date"] = format_datetime(datetime.fromtimestamp(date, UTC), usegmt=True)
    return headers


def pass_once(limiter: HostLimiter, headers: dict[str, str], job: str = "job") -> None:
    """One request and its answer."""
    limiter.take(job, 1000)
    limiter.answered(headers)
    limiter.released()


# The job's own pace


async def test_a_job_keeps_its_pace(limiter: HostLimiter, clock: Clock) -> None:
    times = []
    for _ in range(5):
        await limiter.acquire("job", 4)
        times.append(clock.now - START)
    assert times == pytest.approx([0, 0.25, 0.5, 0.75, 1])


async def test_many_that_wait_together_keep_the_pace_too(limiter: HostLimiter, clock: Clock) -> None:
    times = []

    async def one() -> None:
        await limiter.acquire("job", 4)
        times.append(clock.now - START)

    await asyncio.gather(*[one() for _ in range(5)])
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(gap > 0.2499 for gap in gaps)


async def test_idle_time_is_not_saved_up(limiter: HostLimiter, clock: Clock) -> None:
    await limiter.acquire("job", 4)
    clock.now += 60
    await limiter.acquire("job", 4)
    assert limiter.delay("job", 4) == pytest.approx(0.25)


async def test_jobs_have_a_pace_each(limiter: HostLimiter) -> None:
    await limiter.acquire("slow", 1)
    assert limiter.delay("slow", 1) == pytest.approx(1)
    assert limiter.delay("fast", 100) == 0


# What the host says of its window


def test_a_spent_window_waits_for_its_reset(limiter: HostLimiter, clock: Clock) -> None:
    pass_once(limiter, told(1, 30))
    clock.now += 1
    assert limiter.delay("job", 1000) == 0
    pass_once(limiter, told(0, 29))
    clock.now += 1
    assert limiter.delay("job", 1000) == pytest.approx(28)
    assert limiter.delay("another", 1000) == pytest.approx(28)
    clock.now += 28
    assert limiter.delay("job", 1000) == 0


def test_a_reset_in_epoch_seconds_is_never_waited_for_too_briefly(limiter: HostLimiter, clock: Clock) -> None:
    """Date and reset are both cut to whole seconds: the host's window may end up to a second later."""
    clock.now += 0.9
    pass_once(limiter, told(0, START + 30, date=START))
    host_resets_at = START + 30.99
    assert host_resets_at <= clock.now + limiter.delay("job", 1000) <= host_resets_at + 2


@pytest.mark.parametrize("skew", [-7200, -61, 0, 61, 7200])
def test_a_hosts_clock_may_be_wrong(limiter: HostLimiter, clock: Clock, skew: float) -> None:
    pass_once(limiter, told(0, START + skew + 30, date=START + skew))
    assert 30 <= limiter.delay("job", 1000) <= 31


def test_without_a_date_the_reset_counts_against_our_clock(limiter: HostLimiter) -> None:
    pass_once(limiter, told(0, START + 30))
    assert 30 <= limiter.delay("job", 1000) <= 31


def test_a_request_under_way_counts_against_what_remains(limiter: HostLimiter, clock: Clock) -> None:
    pass_once(limiter, told(2, 30))
    clock.now += 1
    limiter.take("job", 1000)
    limiter.take("other", 1000)
    assert limiter.delay("third", 1000) == pytest.approx(29)
    limiter.released()  # it failed without an answer: its place is free again
    assert limiter.delay("third", 1000) == 0


def test_answers_that_overtake_each_other_do_not_give_back_what_was_used(limiter: HostLimiter) -> None:
    pass_once(limiter, told(0, 30))
    pass_once(limiter, told(5, 30))
    assert limiter.delay("other", 1000) == pytest.approx(30)


def test_a_new_window_begins_afresh(limiter: HostLimiter, clock: Clock) -> None:
    pass_once(limiter, told(0, 30))
    clock.now += 30
    pass_once(limiter, told(99, 30))
    assert limiter.delay("other", 1000) == 0


def test_a_short_window_begins_afresh_as_well(limiter: HostLimiter, clock: Clock) -> None:
    pass_once(limiter, told(0, 1))
    clock.now += 1.01
    pass_once(limiter, told(9, 1))
    assert limiter.delay("other", 1000) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"RateLimit-Limit": "100"},
        {"RateLimit-Limit": "100", "RateLimit-Remaining": "0"},
        told(0, 30) | {"RateLimit-Remaining": ""},
        told(0, 30) | {"RateLimit-Remaining": "none"},
        told(0, 30) | {"RateLimit-Remaining": "nan"},
        told(0, 30) | {"RateLimit-Limit": "inf"},
        told(0, 30) | {"RateLimit-Reset": "1e999"},
        told(0, 30) | {"RateLimit-Reset": "tomorrow"},
    ],
)
def test_headers_that_say_nothing_change_nothing(limiter: HostLimiter, headers: dict[str, str]) -> None:
    pass_once(limiter, headers)
    assert limiter.delay("other", 1000) == 0


@pytest.mark.parametrize(
    "date", ["", "soon", "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"]
)
def test_an_unusable_date_is_as_none(limiter: HostLimiter, date: str) -> None:
    pass_once(limiter, told(0, START + 30) | {"Date": date})
    assert limiter.delay("other", 1000) >= 0


# Refusals


def test_retry_after_blocks_the_host_for_all_jobs(limiter: HostLimiter, clock: Clock) -> None:
    limiter.refused({}, 12.0, 10)
    assert limiter.delay("job", 10) == limiter.delay("other", 1000) == pytest.approx(12)
    clock.now += 12
    assert limiter.delay("job", 10) == 0


def test_a_shorter_retry_after_does_not_shorten_the_pause(limiter: HostLimiter) -> None:
    limiter.refused({}, 12.0, 10)
    limiter.refused({}, 1.0, 10)
    assert limiter.delay("job", 10) == pytest.approx(12)


def test_retry_after_teaches_no_lower_pace(limiter: HostLimiter, clock: Clock) -> None:
    limiter.refused({}, 1.0, 10)
    clock.now += 1
    limiter.take("job", 10)
    assert limiter.delay("job", 10) == pytest.approx(0.1)


def test_a_refusal_with_a_spent_window_waits_for_the_reset(limiter: HostLimiter, clock: Clock) -> None:
    limiter.refused(told(0, 20), None, 10)
    assert limiter.delay("job", 10) == pytest.approx(20)
    clock.now += 20
    limiter.take("job", 10)
    assert limiter.delay("job", 10) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "refuse",
    [
        lambda limiter: limiter.refused({}, 1e9, 10),
        lambda limiter: limiter.refused(told(0, 1e7), None, 10),
        lambda limiter: limiter.refused(told(0, START + 1e9), None, 10),
        lambda limiter: limiter.answered(told(0, START + 1e9)),
    ],
)
def test_no_host_can_hold_a_job_up_for_ever(
    limiter: HostLimiter, refuse: Callable[[HostLimiter], None]
) -> None:
    refuse(limiter)
    assert 1800 <= limiter.delay("job", 10) <= 7200


def paces(limiter: HostLimiter, clock: Clock) -> float:
    """Seconds between two requests, once the host may be asked again."""
    clock.now += limiter.delay("probe", 1e6)
    limiter.take("probe", 1e6)
    return limiter.delay("probe", 1e6)


def test_refusals_without_a_word_halve_the_pace_once_for_all_under_way(
    limiter: HostLimiter, clock: Clock
) -> None:
    for _ in range(8):
        limiter.take("job", 10)
    for _ in range(8):
        limiter.refused({}, None, 10)
        limiter.released()
    assert 1 <= limiter.delay("other", 1e6) <= 5  # a pause, as these hosts count by the second
    assert paces(limiter, clock) == pytest.approx(1 / 5)


def test_the_next_refusal_halves_again_and_never_below_the_least(limiter: HostLimiter, clock: Clock) -> None:
    found = []
    for _ in range(12):
        limiter.refused({}, None, 10)
        found.append(paces(limiter, clock))
    assert found[:3] == pytest.approx([0.2, 0.4, 0.8])
    assert found[-1] == pytest.approx(5)


def test_answers_let_the_pace_creep_up(limiter: HostLimiter, clock: Clock) -> None:
    limiter.refused({}, None, 10)
    before = paces(limiter, clock)
    for _ in range(10):
        limiter.answered({})
    after = paces(limiter, clock)
    assert before / 2 < after < before


def test_a_refusal_bites_after_any_number_of_answers(limiter: HostLimiter, clock: Clock) -> None:
    """The learnt pace may creep up beyond the job's, where nothing tests it: halving that is no lesson."""
    limiter.refused({}, None, 10)
    for _ in range(50_000):
        limiter.answered({})
    clock.now += 60
    limiter.refused({}, None, 10)
    assert paces(limiter, clock) == pytest.approx(1 / 5)


# Goal: nearly all of an advertised budget, and no refusals


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("form", ["epoch", "delta"])
async def test_an_advertised_budget_is_used_up_and_never_exceeded(
    limiter: HostLimiter, clock: Clock, fraction: float, form: str
) -> None:
    limit, window, requests = 300, 300, 1500
    clock.now += fraction
    ends, used, refusals = 0.0, 0, 0
    for _ in range(requests):
        await limiter.acquire("job", 10)
        if clock.now >= ends:
            ends, used = clock.now + window, 0
        used += 1
        refusals += used > limit
        reset = int(ends) if form == "epoch" else int(-(-(ends - clock.now) // 1))
        limiter.answered(told(max(0, limit - used), reset, limit=limit, date=int(clock.now)))
        limiter.released()
    assert refusals == 0
    windows = requests // limit - 1  # all but the last one are lived through to their ends
    assert clock.now - START - fraction <= windows * (window + 2) + limit / 10 + 1
