"""Windows and percentiles, held against a plain count of the same outcomes."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ErrorType
from schemas.outcomes import OutcomeStatus, RepoOutcome
from schemas.rates import WINDOW_SECONDS, RateWindow
from stream_workers.rates.histogram import ABSOLUTE_ERROR, RELATIVE_ERROR, Histogram
from stream_workers.rates.tally import MOST_ERRORS, MOST_HOSTS, MOST_TYPES, Tally
from stream_workers.rates.windows import HOPS, SHOWN_HOSTS, SHOWN_TYPES, HoppingWindow, JobWindows

NOW = 1_800_000_000.5
POST, LIKE = "app.bsky.feed.post", "app.bsky.feed.like"
SHARES = (0.5, 0.9, 0.99, 1.0)

seconds = st.floats(0, 80_000) | st.floats(0, 0.01)
ages = st.integers(0, 4_500_000).map(lambda ms: ms / 1000)


@st.composite
def outcomes(draw: st.DrawFn) -> RepoOutcome:
    """Any outcome of a few hosts and types."""
    status: OutcomeStatus = draw(st.sampled_from(["completed", "unavailable", "failed", "retrying"]))
    error: ErrorType | None = None
    if status in ("failed", "retrying"):
        error = draw(st.sampled_from(["network_error", "timeout_error"]))
    done = status == "completed"
    return outcome(
        host=draw(st.sampled_from(["https://a.test", "https://b.test", None])),
        status=status,
        error=error,
        records={POST: draw(st.integers(0, 9)), LIKE: draw(st.integers(0, 9))} if done else {},
        size=draw(st.integers(0, 10_000)),
        took=draw(seconds),
    )


def outcome(
    host: str | None = "https://a.test",
    *,
    status: OutcomeStatus = "completed",
    error: ErrorType | None = None,
    records: dict[str, int] | None = None,
    size: int = 0,
    took: float = 1.0,
) -> RepoOutcome:
    return RepoOutcome(
        job_id="job",
        did="did:plc:a",
        host=host,
        status=status,
        error_type=error,
        records=records or {},
        bytes=size,
        seconds=took,
    )


def exact(values: list[float], share: float) -> float:
    """By nearest rank."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


@given(st.lists(seconds, min_size=1, max_size=300), st.sampled_from(SHARES))
def test_a_percentile_is_off_by_no_more_than_is_said(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    told, true = histogram.percentile(share), exact(values, share)
    assert told is not None
    assert abs(told - true) <= true * RELATIVE_ERROR * (1 + 1e-9) + ABSOLUTE_ERROR


@given(st.lists(seconds, min_size=1, max_size=100), st.integers(0, 100), st.sampled_from(SHARES))
def test_histograms_put_together_are_one(values: list[float], cut: int, share: float) -> None:
    whole, left, right = Histogram(), Histogram(), Histogram()
    for place, value in enumerate(values):
        whole.add(value)
        (left if place < cut else right).add(value)
    left.merge(right)
    assert left.percentile(share) == whole.percentile(share)


def test_a_histogram_stays_small_and_beyond_a_day_tells_a_day() -> None:
    histogram = Histogram()
    assert histogram.percentile(0.5) is None
    for power in range(-4000, 9000):
        histogram.add(10 ** (power / 1000))
    assert len(histogram._bins) == 376
    assert histogram.percentile(1.0) == pytest.approx(86_400, rel=RELATIVE_ERROR)


@given(st.lists(st.tuples(ages, outcomes()), max_size=60), st.randoms(use_true_random=False))
def test_windows_count_what_lies_in_them_in_whatever_order_it_comes(
    given: list[tuple[float, RepoOutcome]], chance: random.Random
) -> None:
    expected = {}
    for length in WINDOW_SECONDS:
        begin = HoppingWindow(length, HOPS[length]).starts(NOW)
        expected[length] = count([one for age, one in given if NOW - age >= begin])
    chance.shuffle(given)
    windows = JobWindows()
    for age, one in given:
        windows.add(one, NOW - age, NOW)
    for rates in windows.rates(NOW):
        assert counted(rates) == pytest.approx(expected[rates.seconds], abs=0.0006 * rates.covered_seconds)


@given(st.lists(st.tuples(st.floats(0, 3500), outcomes()), max_size=40))
def test_told_as_they_happen_or_all_at_the_end_outcomes_give_the_same_rates(
    given: list[tuple[float, RepoOutcome]],
) -> None:
    live, late = JobWindows(), JobWindows()
    for age, one in sorted(given, key=lambda item: -item[0]):
        live.add(one, NOW - age, NOW - age)
        live.rates(NOW - age)
        late.add(one, NOW - age, NOW)
    assert live.rates(NOW) == late.rates(NOW)


def count(given: list[RepoOutcome]) -> dict[str, float]:
    """The plain count."""
    ended = [one for one in given if one.status != "retrying"]
    errors = Counter(one.error_type for one in given if one.error_type)
    return {
        "repositories": len(ended),
        "records": sum(sum(one.records.values()) for one in given),
        "posts": sum(one.records.get(POST, 0) for one in given),
        "bytes": sum(one.bytes for one in given),
        "network": errors["network_error"],
        "timeout": errors["timeout_error"],
        **{host: sum(one.host == host for one in ended) for host in ("https://a.test", "https://b.test")},
        "nowhere": sum(one.host is None for one in ended),
    }


def counted(rates: RateWindow) -> dict[str, float]:
    """The same from rates, rounded as they are."""
    covered = rates.covered_seconds
    hosts = {host: one.repositories_per_second * covered for host, one in rates.hosts.items()}
    return {
        "repositories": rates.repositories,
        "records": rates.records_per_second * covered,
        "posts": rates.types.get(POST, 0) * covered,
        "bytes": rates.bytes_per_second * covered,
        "network": rates.errors.get("network_error", 0),
        "timeout": rates.errors.get("timeout_error", 0),
        "https://a.test": hosts.get("https://a.test", 0),
        "https://b.test": hosts.get("https://b.test", 0),
        "nowhere": hosts.get("(unresolved)", 0),
    }


def test_rates_are_per_second_of_the_time_that_the_job_has_run() -> None:
    windows = JobWindows()
    for age in range(10):
        windows.add(outcome(records={POST: 30}, size=1000, took=2.0), NOW - age, NOW)
    minute, _, hour = windows.rates(NOW)
    assert (minute.covered_seconds, hour.covered_seconds) == (9, 9)
    assert minute.repositories_per_second == pytest.approx(10 / 9, abs=0.001)
    assert minute.records_per_second == pytest.approx(300 / 9, abs=0.001)
    assert minute.bytes_per_second == pytest.approx(10_000 / 9, abs=0.001)
    assert minute.p50_seconds == pytest.approx(2.0, rel=RELATIVE_ERROR)
    assert minute.hosts["https://a.test"].mean_seconds == 2.0


def test_rates_fall_to_zero_one_window_after_the_other() -> None:
    windows = JobWindows()
    windows.add(outcome(records={POST: 30}), NOW, NOW)
    moving = [[rates.repositories for rates in windows.rates(NOW + later)] for later in (0, 61, 301, 3661)]
    assert moving == [[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert windows.rates(NOW + 61)[0].p50_seconds is None
    assert windows.rates(NOW + 61)[0].records_per_second == 0


def test_what_is_older_than_a_window_is_left_out_of_it() -> None:
    windows = JobWindows()
    assert windows.add(outcome(), NOW - 200, NOW)
    assert not windows.add(outcome(), NOW - 4000, NOW)
    assert [rates.repositories for rates in windows.rates(NOW)] == [0, 1, 1]


def test_a_clock_that_is_ahead_counts_as_now() -> None:
    windows = JobWindows()
    assert windows.add(outcome(), NOW + 500, NOW)
    assert [rates.repositories for rates in windows.rates(NOW)] == [1, 1, 1]
    assert [rates.repositories for rates in windows.rates(NOW + 61)] == [0, 1, 1]


@given(st.lists(st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)), max_size=300))
def test_a_window_never_holds_more_hops_than_fit_into_it(times: list[tuple[float, float]]) -> None:
    """Whatever is said of the time, by the outcomes' writers and by our own clock."""
    window = HoppingWindow(60, 2)
    for at, now in times:
        window.add(outcome(), NOW + at, NOW + now)
        assert len(window) <= 31


def test_hosts_and_types_beyond_the_bound_count_together() -> None:
    tally, windows = Tally(), JobWindows()
    for number in range(1000):
        one = outcome(f"https://{number}.test", records={f"a.b.c{number}": 2}, size=7)
        tally.add(one)
        windows.add(one, NOW - 10, NOW)
    assert len(tally.hosts) == MOST_HOSTS
    assert len(tally.types) == MOST_TYPES
    minute = windows.rates(NOW)[0]
    assert (len(minute.hosts), len(minute.types)) == (SHOWN_HOSTS, SHOWN_TYPES)
    assert minute.other_hosts is not None
    named = sum(host.repositories_per_second for host in minute.hosts.values())
    assert named + minute.other_hosts.repositories_per_second == pytest.approx(100, abs=0.1)
    assert sum(minute.types.values()) + minute.other_types == pytest.approx(200, abs=0.1)
    assert minute.repositories_per_second == 100


def test_the_busiest_hosts_come_first() -> None:
    windows = JobWindows()
    for number in range(30):
        for _ in range(number + 1):
            windows.add(outcome(f"https://{number}.test"), NOW, NOW)
    hosts = list(windows.rates(NOW)[0].hosts)
    assert hosts == [f"https://{number}.test" for number in range(29, 29 - SHOWN_HOSTS, -1)]


def test_there_are_fewer_error_types_than_the_bound() -> None:
    assert len(ErrorType.__args__) < MOST_ERRORS
