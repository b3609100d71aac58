"""Figures for people: what is not known is never shown as nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from api.dashboard.lag_trail import KEPT_SECONDS, LagTrail
from api.dashboard.words import moment, number, parts_of, rate, share
from messaging.lag import Lag


def test_what_is_not_known_is_never_zero() -> None:
    assert {shown(None) for shown in (number, rate, share, moment)} == {"–"}
    assert (number(0), rate(0), share(0)) == ("0", "0", "0 %")


def test_figures_have_as_many_digits_as_tell_something() -> None:
    assert [rate(value) for value in (12_345.6, 99.94, 1.25, 0.0123)] == ["12,346", "99.9", "1.2", "0.012"]
    assert [share(value) for value in (0.001, 0.5, 0.999, 1)] == ["< 1 %", "50 %", "> 99 %", "100 %"]
    assert number(1234567) == "1,234,567"


def test_moments_are_utc_and_carry_what_a_script_needs() -> None:
    text = moment("2026-11-25T04:00:05+01:00")
    assert text == '<time datetime="2026-11-25T03:00:05Z">2026-11-25 03:00:05</time>'
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert moment("2026-11-25T03:00:05Z", now) == '<time datetime="2026-11-25T03:00:05Z">03:00:05</time>'


def test_a_bar_is_never_longer_than_it_is() -> None:
    assert parts_of([("completed", 50), ("failed", 0), ("unavailable", 25)], 100) == [
        ("completed", 50, 0.0, 50.0),
        ("unavailable", 25, 50.0, 25.0),
    ]
    over = parts_of([("completed", 30), ("failed", 30)], 40)
    assert sum(width for *_, width in over) == pytest.approx(100)
    assert parts_of([], 0) == []


def lag(behind: int | None, partition: int) -> Lag:
    committed = None if behind is None else 100
    return Lag("workers", "dids", partition, committed, 100 + (behind or 0), None, None)


def test_the_trail_of_a_lag_is_drawn_from_what_was_known() -> None:
    trail = LagTrail()
    assert trail.line("workers", "dids") is None
    trail.add([lag(100, 0), lag(100, 1)], 0.0)
    trail.add([lag(7, 0), lag(7, 1)], 1.0)  # too soon after the last one
    trail.add([lag(100, 0), lag(None, 1)], 30.0)  # half of it is no figure
    trail.add([lag(50, 0), lag(0, 1)], 60.0)
    line = trail.line("workers", "dids")
    assert line is not None
    assert line.points == "0.0,1.5 100.0,14.2"
    assert line.words == "from 200 to 50 within 1 min, at most 200"
    for minute in range(2, 40):
        trail.add([lag(0, 0), lag(0, 1)], 60.0 * minute)
    later = trail.line("workers", "dids")
    assert later is not None
    assert later.words == "nothing waited for 15 min"
    assert len(later.points.split()) == KEPT_SECONDS / 60 + 1
