"""Budgets of requests, by a clock that the test turns."""

from __future__ import annotations

import threading

import httpx
import pytest

from api import limits
from api.limits import RequestLimits
from tests.api.server import ApiServer, settings_for


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_has_its_requests_within_any_minute() -> None:
    clock = Clock()
    budget = RequestLimits(3, clock=clock)
    for left in (2, 1, 0):
        taken = budget.token("a")
        assert (taken.allowed, taken.limit, taken.remaining) == (True, 3, left)
        clock.now += 10
    refused = budget.token("a")
    assert (refused.allowed, refused.remaining, refused.reset_seconds) == (False, 0, 30)
    assert refused.headers() == {
        "RateLimit-Limit": "3",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "30",
        "RateLimit-Policy": "3;w=60",
        "Retry-After": "30",
    }
    assert budget.token("b").allowed
    clock.now += 29
    assert not budget.token("a").allowed  # what was refused did not count
    clock.now += 1
    assert budget.token("a").allowed
    assert not budget.token("a").allowed


def test_an_address_without_a_token_has_a_tenth() -> None:
    budget = RequestLimits(50, clock=Clock())
    assert [budget.address("1.2.3.4").allowed for _ in range(6)] == [True] * 5 + [False]
    assert not budget.address_left("1.2.3.4").allowed
    assert budget.address_left("1.2.3.5").allowed
    assert budget.address("1.2.3.5").remaining == 4  # looking took nothing


def test_no_crowd_of_addresses_makes_it_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MOST_KEYS", 100)
    before = threading.active_count()
    budget = RequestLimits(10, clock=Clock())
    for number in range(500):
        assert budget.address(f"10.0.{number // 250}.{number % 250}").allowed
    assert len(budget._windows.storage._kept) == 100  # type: ignore[attr-defined]
    assert threading.active_count() <= before + 1


def test_requests_over_the_limit_are_told_when_to_come_again(
    kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clock = Clock()
    settings = settings_for(kafka, tmp_path_factory.mktemp("api"))
    server = ApiServer(settings, limits=RequestLimits(20, clock=clock))
    try:
        viewer = server.client("viewer")
        first = viewer.get("/api/backfill/jobs")
        assert (first.headers["ratelimit-limit"], first.headers["ratelimit-remaining"]) == ("20", "19")
        assert [viewer.get("/nowhere").status_code for _ in range(3)] == [404] * 3
        for _ in range(19):
            assert viewer.get("/api/backfill/jobs").status_code == 200
        refused = viewer.get("/api/backfill/jobs")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
        assert refused.json()["type"] == "urn:skyfill:problem:too-many-requests"
        assert server.client("operator").get("/api/backfill/jobs").status_code == 200

        wrong = {"Authorization": "Bearer skf_0123456789_" + "A" * 43}
        guesses = [httpx.get(f"{server.url}/api/backfill/jobs", headers=wrong) for _ in range(4)]
        assert [one.status_code for one in guesses] == [401, 401, 429, 429]
        assert httpx.get(f"{server.url}/api/backfill/jobs").status_code == 429
        # Who has a good token does not suffer from who guesses at the same address.
        assert server.client("admin").get("/api/backfill/jobs").status_code == 200
        assert httpx.get(f"{server.url}/healthz").status_code == 200

        clock.now += 60
        assert viewer.get("/api/backfill/jobs").status_code == 200
        assert httpx.get(f"{server.url}/api/backfill/jobs").status_code == 401
    finally:
        server.close()
