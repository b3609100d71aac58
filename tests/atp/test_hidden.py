"""A budget that nobody tells of: found, used up, and found again when it changes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from atp.hidden import Sent
from atp.host_budget import HostBudget
from schemas.hosts import HostState

NOW = 1_800_000_000.0


@dataclass
class Host:
    """Takes `limit` requests a window of `seconds`, which begins with a request."""

    limit: int
    seconds: float
    talks: bool = False
    ends: float = 0.0
    used: int = 0
    taken: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def takes(self, now: float) -> bool:
        if now >= self.ends:
            self.ends, self.used = now + self.seconds, 0
        self.used += 1
        (self.taken if self.used <= self.limit else self.refused).append(now)
        return self.used <= self.limit

    def pause(self, now: float) -> float | None:
        return float(-(-(self.ends - now) // 1)) if self.talks else None

    def between(self, begin: float, end: float) -> tuple[int, int]:
        """Requests taken and refused."""
        return sum(begin <= t < end for t in self.taken), sum(begin <= t < end for t in self.refused)


def ask(
    host: Host, budget: HostBudget, begin: float, end: float, rate: float, *, lanes: int = 4, seed: int = 1
) -> None:
    """As fast as allowed, `lanes` at once, each 10 to 200 ms under way; the host counts half-way."""
    rng = random.Random(seed)
    now, next_at = begin, begin
    under_way: list[tuple[float, object, bool, float | None]] = []
    while now < end:
        for entry in sorted((e for e in under_way if e[0] <= now), key=lambda e: e[0]):
            under_way.remove(entry)
            at, ticket, taken, pause = entry
            if taken:
                budget.answered(ticket, {}, at)  # type: ignore[arg-type]
            else:
                budget.refused(ticket, {}, pause, at)  # type: ignore[arg-type]
        ready = max(next_at, budget.ready_at("getRepo", now))
        if len(under_way) < lanes and ready <= now:
            ticket, arrives = budget.sent("getRepo", now), now + rng.uniform(0.005, 0.1)
            taken = host.takes(arrives)
            under_way.append((arrives + rng.uniform(0.005, 0.1), ticket, taken, host.pause(arrives)))
            next_at = max(now, next_at) + 1 / rate
            continue
        moments = [e[0] for e in under_way]
        if len(under_way) < lanes:
            moments.append(ready)
        now = max(now + 1e-6, min(moments))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("talks", [False, True])
@pytest.mark.parametrize(
    ("limit", "seconds", "rate"), [(3000, 300, 100), (3000, 300, 11), (500, 60, 40), (2000, 900, 200)]
)
def test_a_budget_is_found_and_used(limit: int, seconds: float, rate: float, talks: bool, seed: int) -> None:
    host, budget = Host(limit, seconds, talks), HostBudget()
    learnt = NOW + 8 * seconds
    end = learnt + 6 * seconds
    ask(host, budget, NOW, end, rate, seed=seed)
    taken, refused = host.between(learnt, end)
    assert taken >= 0.97 * 6 * limit
    assert refused <= 0.001 * (taken + refused) + 1


@pytest.mark.parametrize(("limit", "seconds"), [(5, 1.0), (1, 2.0), (20, 10.0)])
def test_a_small_one_is_learnt_with_few_refusals(limit: int, seconds: float) -> None:
    host, budget = Host(limit, seconds), HostBudget()
    ask(host, budget, NOW, NOW + 300 * seconds, 20)
    taken, refused = host.between(NOW + 100 * seconds, NOW + 300 * seconds)
    assert taken >= 0.75 * 200 * limit
    assert refused <= 0.02 * taken


def test_a_host_that_never_refuses_is_never_held_back() -> None:
    host, budget = Host(10**9, 300), HostBudget()
    ask(host, budget, NOW, NOW + 100, 20)
    assert len(host.taken) == pytest.approx(2000, rel=0.01)
    assert budget.fields()["hidden"] is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((2000, 300.0), (1000, 300.0)),
        ((1000, 300.0), (3000, 300.0)),
        ((1000, 60.0), (1000, 120.0)),
        ((1000, 66.0), (1000, 60.0)),
    ],
)
def test_a_budget_that_changes_is_learnt_anew(before: tuple[int, float], after: tuple[int, float]) -> None:
    host, budget = Host(*before), HostBudget()
    changes = NOW + 10 * before[1]
    ask(host, budget, NOW, changes, 200)
    host.limit, host.seconds = after
    learnt = changes + 30 * after[1]
    end = learnt + 10 * after[1]
    ask(host, budget, changes, end, 200)
    taken, refused = host.between(learnt, end)
    assert taken >= 0.95 * 10 * after[0]
    assert refused <= 0.002 * taken


def test_somebody_else_at_the_same_address_costs_no_more_than_he_takes() -> None:
    host, budget = Host(3000, 300.0), HostBudget()
    for window in range(20):
        begin = NOW + window * 300
        for _ in range(1000 if 10 <= window < 14 else 0):
            host.takes(begin)
        host.taken = [t for t in host.taken if t != begin]
        ask(host, budget, begin, begin + 300, 100)
    taken, _ = host.between(NOW + 17 * 300, NOW + 20 * 300)
    assert taken >= 0.9 * 3 * 3000  # what he took is noticed to be free again


def test_a_refusal_shuts_the_host_and_one_request_asks() -> None:
    budget = HostBudget()
    tickets = [budget.sent("getRepo", NOW) for _ in range(8)]
    for ticket in tickets:
        budget.refused(ticket, {}, None, NOW)
    assert budget.ready_at("getRepo", NOW) == pytest.approx(NOW + 2)
    question = budget.sent("getRepo", NOW + 2)
    assert budget.ready_at("other", NOW + 2) > NOW + 2  # nobody asks beside it, whatever the kind
    budget.refused(question, {}, None, NOW + 2)
    assert NOW + 4 < budget.ready_at("getRepo", NOW + 2) <= NOW + 5
    question = budget.sent("getRepo", NOW + 6)
    budget.lost(question)  # no answer: another may ask
    budget.answered(budget.sent("getRepo", NOW + 6), {}, NOW + 6)
    assert budget.ready_at("getRepo", NOW + 6) <= NOW + 6


def test_retry_after_is_waited_for_and_never_shortened() -> None:
    budget = HostBudget()
    first, second = budget.sent("getRepo", NOW), budget.sent("getRepo", NOW)
    budget.refused(first, {}, 12.0, NOW)
    budget.refused(second, {}, 1.0, NOW)
    assert budget.ready_at("getRepo", NOW) == pytest.approx(NOW + 12)
    assert budget.ready_at("getRepo", NOW + 12) <= NOW + 12


def learnt() -> tuple[Host, HostBudget, float]:
    host, budget = Host(300, 60.0), HostBudget()
    ask(host, budget, NOW, NOW + 900, 50)
    return host, budget, NOW + 900


def passed_on(budget: HostBudget, at: float, *, handed_over: bool) -> HostBudget:
    now = datetime.fromtimestamp(at, UTC)
    state = HostState.model_validate(
        {"origin": "https://one.test", "counted_since": now, "updated_at": now, "handed_over": handed_over}
        | budget.fields()
    )
    other = HostBudget()
    other.restore(HostState.decode(state.encode()))
    return other


@pytest.mark.parametrize("handed_over", [False, True])
def test_what_is_learnt_survives_without_a_new_refusal(handed_over: bool) -> None:
    host, budget, now = learnt()
    ask(host, budget, now, now + 63, 50)
    other = passed_on(budget, now + 63, handed_over=handed_over)
    ask(host, other, now + 63, now + 243, 50)
    taken, refused = host.between(now + 63, now + 243)
    assert refused == 0
    assert taken >= (3 if handed_over else 2) * 300 * 0.95


def test_what_is_half_learnt_is_learnt_again() -> None:
    budget = HostBudget()
    budget.refused(budget.sent("getRepo", NOW), {}, None, NOW)
    other = passed_on(budget, NOW, handed_over=False)
    assert other.ready_at("getRepo", NOW) <= NOW


def test_a_request_says_which_window_it_was_sent_in() -> None:
    assert HostBudget().sent("getRepo", NOW).sent == Sent(0, NOW, asks=False)
