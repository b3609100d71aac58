"""What hosts say of their budgets, and which kinds of requests share one."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from atp.host_budget import HostBudget, Ticket
from schemas.hosts import HostState

NOW = 1_800_000_000.0


def told(
    remaining: int, reset: float, *, limit: int = 100, date: float | None = None, policy: str | None = None
) -> dict[str, str]:
    """What a host says of its window; `date` as its clock has it."""
    headers = {
        "RateLimit-Limit": str(limit),
        "RateLimit-Remaining": str(remaining),
        "RateLimit-Reset": f"{reset:.0f}",
        "RateLimit-Policy": policy or f"{limit};w=300",
    }
    if date is not None:
        headers["Date"] = format_datetime(datetime.fromtimestamp(date, UTC), usegmt=True)
    return headers


def answer(budget: HostBudget, headers: dict[str, str], now: float, kind: str = "getRepo") -> None:
    """One request and its answer, both now."""
    budget.answered(budget.sent(kind, now), headers, now)


def delay(budget: HostBudget, now: float, kind: str = "getRepo") -> float:
    return max(0.0, budget.ready_at(kind, now) - now)


def test_a_spent_window_waits_for_its_reset() -> None:
    budget = HostBudget()
    answer(budget, told(1, 30), NOW)
    assert delay(budget, NOW + 1) == 0
    answer(budget, told(0, 29), NOW + 1)
    assert delay(budget, NOW + 2) == pytest.approx(28)
    assert delay(budget, NOW + 30) == 0


def test_a_reset_in_epoch_seconds_is_never_waited_for_too_briefly() -> None:
    """Date and reset are both cut to whole seconds: the host's window may end up to a second later."""
    budget, now = HostBudget(), NOW + 0.9
    answer(budget, told(0, NOW + 30, date=NOW), now)
    host_resets_at = NOW + 30.99
    assert host_resets_at <= now + delay(budget, now) <= host_resets_at + 2


@pytest.mark.parametrize("skew", [-7200, -61, 0, 61, 7200])
def test_a_hosts_clock_may_be_wrong(skew: float) -> None:
    budget = HostBudget()
    answer(budget, told(0, NOW + skew + 30, date=NOW + skew), NOW)
    assert 30 <= delay(budget, NOW) <= 31


def test_without_a_date_the_reset_counts_against_our_clock() -> None:
    budget = HostBudget()
    answer(budget, told(0, NOW + 30), NOW)
    assert 30 <= delay(budget, NOW) <= 31


def test_a_request_under_way_counts_against_what_remains() -> None:
    budget = HostBudget()
    answer(budget, told(2, 30), NOW)
    first = budget.sent("getRepo", NOW)
    budget.sent("getRepo", NOW)
    assert delay(budget, NOW + 1) == pytest.approx(29)
    budget.lost(first)  # it failed without an answer: its place is free again
    budget.lost(first)
    assert delay(budget, NOW + 1) == 0
    assert delay(budget, NOW + 1, "other") == 0
    budget.sent("getRepo", NOW + 1)
    assert delay(budget, NOW + 1, "other") > 0


def test_answers_that_overtake_each_other_do_not_give_back_what_was_used() -> None:
    budget = HostBudget()
    early, late = budget.sent("getRepo", NOW), budget.sent("getRepo", NOW)
    budget.answered(late, told(0, 30), NOW)
    budget.answered(early, told(5, 30), NOW)
    assert delay(budget, NOW) == pytest.approx(30)


@pytest.mark.parametrize("seconds", [1, 30])
def test_a_new_window_begins_afresh_but_not_without_bound(seconds: int) -> None:
    budget = HostBudget()
    answer(budget, told(0, seconds, limit=3), NOW)
    now = NOW + seconds + 0.01
    tickets = []
    while delay(budget, now) == 0:
        tickets.append(budget.sent("getRepo", now))
    assert len(tickets) == 3  # the old limit holds until the new window is told of
    budget.answered(tickets[0], told(99, seconds, limit=100), now)
    assert delay(budget, now) == 0


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
def test_headers_that_say_nothing_change_nothing(headers: dict[str, str]) -> None:
    budget = HostBudget()
    answer(budget, headers, NOW)
    assert delay(budget, NOW) == 0


@pytest.mark.parametrize(
    "date", ["", "soon", "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"]
)
def test_an_unusable_date_is_as_none(date: str) -> None:
    budget = HostBudget()
    answer(budget, told(0, NOW + 30) | {"Date": date}, NOW)
    assert delay(budget, NOW) >= 0


@pytest.mark.parametrize("limit", [-5, 0])
def test_a_limit_of_nothing_does_not_stop_for_ever(limit: int) -> None:
    budget = HostBudget()
    answer(budget, told(limit, 30, limit=limit), NOW)
    assert delay(budget, NOW) == pytest.approx(30)
    assert delay(budget, NOW + 31) == 0


def refuse(budget: HostBudget, headers: dict[str, str], pause: float | None = None) -> None:
    budget.refused(budget.sent("getRepo", NOW), headers, pause, NOW)


def test_a_refusal_with_a_spent_window_waits_for_the_reset() -> None:
    budget = HostBudget()
    refuse(budget, told(0, 20))
    assert delay(budget, NOW) == pytest.approx(20)
    assert delay(budget, NOW + 20) == 0
    assert budget.fields()["hidden"] is None
    refuse(budget, told(0, 20), 25.0)
    assert delay(budget, NOW) == pytest.approx(25)
    assert (budget.requests, budget.refusals) == (2, 2)


@pytest.mark.parametrize(
    ("headers", "pause"), [({}, 1e9), (told(0, 1e7), None), (told(0, NOW + 1e9), None), (told(7, 30), 1e9)]
)
def test_no_host_can_hold_a_job_up_for_ever(headers: dict[str, str], pause: float | None) -> None:
    budget = HostBudget()
    refuse(budget, headers, pause)
    assert 1800 <= delay(budget, NOW) <= 3601


# Which kinds share a budget


class Host:
    """Counts kinds in budgets as it was told to, from one fixed window to the next."""

    def __init__(self, *budgets: tuple[int, set[str]], seconds: int = 300) -> None:
        self._budgets, self._seconds = budgets, seconds
        self._windows: dict[int, tuple[float, int]] = {}

    def headers(self, kind: str, now: float) -> tuple[bool, dict[str, str]]:
        number = next(n for n, (_, kinds) in enumerate(self._budgets) if kind in kinds or not kinds)
        limit = self._budgets[number][0]
        ends, used = self._windows.get(number, (0.0, 0))
        if now >= ends:
            ends, used = now + self._seconds, 0
        self._windows[number] = ends, used + 1
        return used < limit, told(max(0, limit - used - 1), ends, limit=limit, date=int(now))


KINDS = ("getRepo", "listRecords", "getLatestCommit")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "budgets",
    [
        [(60, set())],
        [(60, {"getRepo"}), (30, set())],
        [(60, {"getRepo"}), (60, set())],
        [(40, {"getRepo"}), (40, {"listRecords"}), (40, set())],
    ],
    ids=["one", "two", "two alike", "three alike"],
)
def test_budgets_are_told_apart_and_none_is_run_into(budgets: list[tuple[int, set[str]]], seed: int) -> None:
    """Eight requests under way, whose answers overtake each other, kinds at random, over five windows."""
    rng, now, host, budget = random.Random(seed), NOW + seed / 7, Host(*budgets), HostBudget()
    under_way: list[tuple[Ticket, bool, dict[str, str]]] = []
    taken = refused = 0
    while now < NOW + 5 * 301:
        now += rng.uniform(0, 1)
        kind = rng.choice(KINDS)
        if len(under_way) < 8 and delay(budget, now, kind) == 0:
            allowed, headers = host.headers(kind, now)
            taken += allowed
            refused += not allowed
            under_way.append((budget.sent(kind, now), allowed, headers))
        if under_way and rng.random() < 0.6:
            ticket, allowed, headers = under_way.pop(rng.randrange(len(under_way)))
            if allowed:
                budget.answered(ticket, headers, now)
            else:
                budget.refused(ticket, headers, None, now)
    assert refused == 0
    assert taken >= 4 * sum(limit for limit, _ in budgets)
    assert sorted(sorted(state.kinds) for state in budget._advertised.state()) == sorted(
        sorted(
            k for k in KINDS if next(n for n, (_, ks) in enumerate(budgets) if k in ks or not ks) == number
        )
        for number in range(len(budgets))
    )


def test_a_kind_that_was_not_seen_yet_waits_for_every_budget() -> None:
    budget = HostBudget()
    answer(budget, told(9, 30, limit=10), NOW, "getRepo")
    answer(budget, told(0, 60, limit=20), NOW, "listRecords")
    assert delay(budget, NOW, "getRepo") == 0
    assert delay(budget, NOW, "listRecords") == delay(budget, NOW, "unheardOf") == pytest.approx(60)


def test_a_refusal_that_the_books_cannot_explain_puts_kinds_together_again() -> None:
    budget = HostBudget()
    answer(budget, told(50, 100), NOW, "getRepo")
    answer(budget, told(60, 100), NOW, "listRecords")  # it did not fall: a budget of its own, it seems
    assert delay(budget, NOW, "listRecords") == 0
    budget.refused(budget.sent("listRecords", NOW), told(0, 100), None, NOW)
    assert delay(budget, NOW, "getRepo") == delay(budget, NOW, "listRecords") == pytest.approx(100)


def test_the_share_used_is_told_when_a_window_ends() -> None:
    shares: list[float] = []
    budget = HostBudget(shares.append)
    answer(budget, told(25, 30), NOW)
    answer(budget, told(99, 30), NOW + 31)
    assert shares == [0.75]


# What survives


def moved(budget: HostBudget, *, handed_over: bool) -> HostBudget:
    """Another worker's books, begun with what this one wrote down."""
    at = datetime.fromtimestamp(NOW, UTC)
    fields = {"origin": "https://one.test", "counted_since": at, "updated_at": at, "handed_over": handed_over}
    state = HostState.decode(HostState.model_validate(fields | budget.fields()).encode())
    other = HostBudget()
    other.restore(state)
    return other


def test_a_host_that_was_handed_over_goes_on_where_it_was() -> None:
    budget = HostBudget()
    answer(budget, told(2, 30, limit=10), NOW, "getRepo")
    answer(budget, told(0, 60, limit=20), NOW, "listRecords")
    other = moved(budget, handed_over=True)
    assert delay(other, NOW, "listRecords") == pytest.approx(60)
    for _ in range(2):
        assert delay(other, NOW, "getRepo") == 0
        other.sent("getRepo", NOW)
    assert delay(other, NOW, "getRepo") > 0


def test_after_a_kill_one_request_goes_ahead_and_asks() -> None:
    budget = HostBudget()
    answer(budget, told(9, 30, limit=10), NOW)
    other = moved(budget, handed_over=False)
    ticket = other.sent("getRepo", NOW)
    assert delay(other, NOW) > 0
    other.answered(ticket, told(4, 30, limit=10), NOW)
    for _ in range(4):
        assert delay(other, NOW) == 0
        other.sent("getRepo", NOW)
    assert delay(other, NOW) > 0
