"""TIDs: the text sorts like the time, and the time comes back."""

from __future__ import annotations

from arroba import util as arroba
from hypothesis import given
from hypothesis import strategies as st

from atp import tid

TIMES = st.integers(0, 2**53 - 1)


@given(TIMES, st.integers(0, 1023))
def test_a_time_comes_back(time_us: int, clock: int) -> None:
    text = tid.from_microseconds(time_us, clock)
    assert tid.is_tid(text)
    assert tid.microseconds(text) == time_us


@given(TIMES, TIMES)
def test_text_sorts_like_time(one: int, other: int) -> None:
    texts = tid.from_microseconds(one), tid.from_microseconds(other)
    assert (texts[0] < texts[1]) == (one < other)


@given(st.integers(2**50, 2**53 - 1))
def test_another_implementation_reads_the_same_time(time_us: int) -> None:
    assert arroba.tid_to_int(tid.from_microseconds(time_us, 5)) == time_us


def test_times_out_of_range_become_the_nearest_tid() -> None:
    assert tid.from_microseconds(-1) == "2222222222222"
    assert tid.from_microseconds(2**60) == tid.from_microseconds(2**53 - 1)
    assert tid.microseconds("2222222222222") == 0
