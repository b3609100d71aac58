"""The breaker of one host, by a clock that is a number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from schemas.hosts import HostState
from stream_workers.fetch.breaker import Breaker

NOW = 1_800_000_000.0


def breaker(*, proven: bool = True) -> Breaker:
    """One without jitter; `proven`: its host has answered before."""
    made = Breaker(lambda low, high: (low + high) / 2)
    if proven:
        made.succeeded(NOW - 1)
    return made


def fail(
    under_test: Breaker, times: int, *, accounts: int = 9, connected: bool = True, at: float = NOW
) -> None:
    for number in range(times):
        under_test.failed(f"did:{number % accounts}", at, started_at=at, connected=connected)


def test_it_opens_after_five_failures_in_a_row() -> None:
    under_test = breaker()
    fail(under_test, 4)
    assert under_test.state(NOW) == "closed"
    fail(under_test, 1)
    assert under_test.state(NOW) == "open"
    assert under_test.retry_at == NOW + 5
    assert under_test.state(NOW + 5) == "half_open"


def test_a_success_between_begins_the_row_anew() -> None:
    under_test = breaker()
    for _ in range(5):
        fail(under_test, 4)
        under_test.succeeded(NOW)
    assert not under_test.is_open
    assert under_test.failing_since is None


def test_one_account_alone_never_opens_it() -> None:
    under_test = breaker()
    fail(under_test, 50, accounts=1)
    assert not under_test.is_open
    fail(under_test, 1)
    under_test.failed("did:other", NOW, started_at=NOW, connected=True)
    assert under_test.is_open


def test_a_host_that_never_answered_and_takes_no_connection_opens_it_at_once() -> None:
    under_test = breaker(proven=False)
    fail(under_test, 1, connected=True)
    assert not under_test.is_open
    fail(under_test, 1, connected=False)
    assert under_test.is_open
    proven = breaker()
    fail(proven, 1, connected=False)
    assert not proven.is_open


def test_pauses_double_to_five_minutes_and_begin_anew_after_a_success() -> None:
    under_test, now, pauses = breaker(proven=False), NOW, []
    for _ in range(9):
        fail(under_test, 1, connected=False, at=now)
        pauses.append(under_test.retry_at - now)
        now = under_test.retry_at
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    under_test.succeeded(now)
    assert under_test.state(now) == "closed"
    fail(under_test, 5, at=now)
    assert under_test.retry_at == now + 5


def test_what_began_before_it_opened_says_nothing_new() -> None:
    under_test = breaker()
    fail(under_test, 5)
    for _ in range(7):  # downloads that were under way beside the five
        under_test.failed("did:9", NOW + 30, started_at=NOW - 1, connected=True)
    assert under_test.retry_at == NOW + 5
    under_test.failed("did:9", NOW + 36, started_at=NOW + 6, connected=True)
    assert under_test.retry_at == NOW + 36 + 10


def test_pauses_have_jitter() -> None:
    found = set()
    for _ in range(20):
        under_test = Breaker()
        fail(under_test, 1, connected=False)
        found.add(under_test.retry_at - NOW)
    assert len(found) > 10
    assert all(3.75 <= pause <= 6.25 for pause in found)


def test_who_is_a_suspect() -> None:
    under_test = breaker(proven=False)
    assert under_test.is_suspect
    under_test.succeeded(NOW)
    assert not under_test.is_suspect
    fail(under_test, 1)
    assert not under_test.is_suspect  # that may be the account
    fail(under_test, 1)
    assert under_test.is_suspect


def test_it_knows_since_when_it_fails() -> None:
    under_test = breaker()
    fail(under_test, 1, at=NOW + 1)
    fail(under_test, 9, at=NOW + 2)
    assert (under_test.failing_since, under_test.failed_at) == (NOW + 1, NOW + 2)
    under_test.succeeded(NOW + 3)
    assert under_test.failing_since is None
    under_test.refused(NOW + 4)
    under_test.refused(NOW + 5)
    assert (under_test.failing_since, under_test.failed_at) == (NOW + 4, NOW + 5)
    assert under_test.state(NOW + 5) == "closed"


def test_the_time_before_a_long_silence_does_not_count() -> None:
    """A failure yesterday and one today, and nobody asked between: that is no outage of a day."""
    under_test = breaker()
    fail(under_test, 1, at=NOW)
    fail(under_test, 1, at=NOW + 86_400)
    assert under_test.failing_since == NOW + 86_400
    fail(under_test, 1, at=NOW + 86_700)
    assert under_test.failing_since == NOW + 86_400


@pytest.mark.parametrize("state", ["open", "half_open"])
def test_an_open_one_is_restored_open(state: str) -> None:
    under_test = breaker(proven=False)
    at = datetime.fromtimestamp(NOW, UTC)
    known = HostState(origin="https://one.test", counted_since=at, updated_at=at).model_copy(
        update={"breaker": state, "retry_at": at + timedelta(seconds=9)}
        | {"failing_since": at - timedelta(seconds=100), "last_failure_at": at - timedelta(seconds=50)}
    )
    under_test.restore(HostState.decode(known.encode()))
    assert under_test.state(NOW) == "open"
    assert under_test.failing_since == NOW - 100
    fail(under_test, 1, at=NOW + 9)
    assert under_test.retry_at > NOW + 9
    gaps = [later - earlier for earlier, later in pairwise([NOW, NOW + 9, under_test.retry_at])]
    assert all(gap > 0 for gap in gaps)
