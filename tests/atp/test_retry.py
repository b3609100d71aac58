"""Patience: what may pass is asked again, as often and as late as agreed; all else is final."""

from __future__ import annotations

import pytest

from atp.retry import Backoff
from schemas.errors import (
    AddressForbidden,
    HostTimeout,
    HostUnreachable,
    IdentityNotFound,
    IdentityUnreachable,
    RateLimited,
    RepoNotFound,
    SkyfillError,
    UnexpectedResponse,
)


class Sleep:
    """Remembers how long it should have slept."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Ask:
    """Raises its errors one after the other, then answers."""

    def __init__(self, *errors: SkyfillError) -> None:
        self.errors = list(errors)
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


async def test_what_passes_by_itself_is_asked_again() -> None:
    ask = Ask(HostTimeout("t"), HostUnreachable("u"), UnexpectedResponse("s", 503), RateLimited("r"))
    assert await Backoff(sleep=Sleep()).run("did", ask) == "answer"
    assert ask.asked == 5


async def test_the_waits_double_up_to_a_longest_one() -> None:
    sleep = Sleep()
    backoff = Backoff(attempts=7, first=1.0, longest=10.0, sleep=sleep)
    await backoff.run("did", Ask(*[HostTimeout("t")] * 6))
    for seconds, most in zip(sleep.seconds, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0], strict=True):
        assert most / 2 <= seconds <= most


async def test_the_server_says_how_long_to_wait_within_bounds() -> None:
    sleep = Sleep()
    ask = Ask(RateLimited("r", 3.0), RateLimited("r", 0.0), RateLimited("r", 9999.0))
    await Backoff(longest=60.0, sleep=sleep).run("did", ask)
    assert sleep.seconds == [3.0, 0.0, 60.0]


async def test_after_the_last_attempt_it_is_unreachable() -> None:
    ask, sleep = Ask(*[HostTimeout("the directory sleeps")] * 9), Sleep()
    with pytest.raises(IdentityUnreachable, match=r"did:x, attempt 3: the directory sleeps"):
        await Backoff(attempts=3, sleep=sleep).run("did:x", ask)
    assert (ask.asked, len(sleep.seconds)) == (3, 2)


@pytest.mark.parametrize(
    "error", [UnexpectedResponse("s", 400), UnexpectedResponse("s", 200), RepoNotFound("r")]
)
async def test_what_will_not_pass_is_not_asked_again(error: SkyfillError) -> None:
    ask = Ask(error)
    with pytest.raises(IdentityUnreachable):
        await Backoff(sleep=Sleep()).run("did", ask)
    assert ask.asked == 1


@pytest.mark.parametrize("error", [AddressForbidden("inside"), IdentityNotFound("none")])
async def test_what_is_not_the_networks_fault_passes_through(error: SkyfillError) -> None:
    ask = Ask(error)
    with pytest.raises(type(error)):
        await Backoff(sleep=Sleep()).run("did", ask)
    assert ask.asked == 1
