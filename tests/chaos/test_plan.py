"""A campaign's plan: the same for the same seed, and even."""

from __future__ import annotations

from collections import Counter

from tests.chaos.plan import DELAYS, STOPPED, VICTIMS, Plan, Point, draw, drawn_anew


def full(seed: int) -> Plan:
    return draw(seed, workers=4, kills_per_point=5)


def test_a_seed_draws_the_same_plan_again_and_another_one_another() -> None:
    assert full(7) == full(7)
    assert full(7) != full(8)


def test_kills_are_even_over_the_points_and_stops_over_kinds_and_delays() -> None:
    plan = full(3)
    kills = [strike for strike in plan.strikes if strike.what == "kill"]
    stops = [strike for strike in plan.strikes if strike.what == "stop"]
    assert len(kills) >= 40
    assert Counter(strike.point for strike in kills) == dict.fromkeys(VICTIMS, 5)
    assert Counter((strike.kind, strike.delay) for strike in stops) == {
        (kind, delay): 1 for kind in STOPPED for delay in DELAYS
    }


def test_everybody_who_passes_a_point_is_killed_there() -> None:
    struck = {(strike.point, strike.kind) for strike in full(5).strikes}
    assert {(point, kind) for point, kinds in VICTIMS.items() for kind in kinds} <= struck


def test_no_worker_is_spared() -> None:
    struck = {strike.address for strike in full(6).strikes if strike.kind == "worker"}
    assert struck == {f"worker-{number}" for number in range(4)}


def test_strikes_are_numbered_and_each_lane_has_them_in_order() -> None:
    plan = full(9)
    assert [strike.number for strike in plan.strikes] == list(range(1, 66))
    for lane in plan.lanes.values():
        assert [strike.number for strike in lane] == sorted(strike.number for strike in lane)


def test_a_strike_drawn_anew_keeps_its_point_and_takes_another_worker() -> None:
    plan = full(2)
    strike = next(strike for strike in plan.strikes if strike.kind == "worker")
    again = drawn_anew(strike, plan, 1)
    assert again == drawn_anew(strike, plan, 1)
    assert (again.number, again.point, again.kind) == (strike.number, strike.point, "worker")
    assert again.address != strike.address
    tracker = next(strike for strike in plan.strikes if strike.point is Point.AFTER_COMMIT)
    assert drawn_anew(tracker, plan, 1).kind == tracker.kind
