"""The goals: nearly all of every budget, hardly a 429. Counts on a compressed clock, not times."""

from __future__ import annotations

import pytest

from benchmarks.limiter import SCENARIOS, Scenario, measure

HOSTS = (
    "headers, 6,000 and 3,000",
    "no headers, 3,000 in total",
    "headers say 6,000, 3,000 taken",
    "Retry-After only, 3,000",
)


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.name in HOSTS], ids=lambda s: s.name)
def test_a_budget_is_used_and_hardly_ever_run_into(scenario: Scenario) -> None:
    """Over half an hour after the learning phase, which hosts with headers do not have."""
    result = measure(scenario)
    assert result.used
    assert all(0.97 < share <= 1 for share in result.used.values()), result.used
    assert result.refused < 0.001 * result.requests
    if scenario.learning == 0:
        assert result.refused == result.refused_while_learning == 0
