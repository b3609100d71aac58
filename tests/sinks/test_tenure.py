"""A process that stood still ends before it writes again."""

from __future__ import annotations

from typing import NoReturn

import pytest

from sinks.tenure import Tenure


class Ended(Exception):
    pass


def end(reason: str) -> NoReturn:
    raise Ended(reason)


def test_it_ends_after_a_standstill_and_not_before() -> None:
    now = [0.0]
    tenure = Tenure(10, end=end, clock=lambda: now[0])
    now[0] = 9.9
    tenure.check()
    now[0] = 10.1
    with pytest.raises(Ended, match="stood still"):
        tenure.check()
    with pytest.raises(Ended):
        tenure.check()


def test_the_watch_keeps_a_busy_process_alive() -> None:
    now = [0.0]
    tenure = Tenure(0.2, end=end, clock=lambda: now[0])
    tenure.begin()
    now[0] = 0.15
    tenure._finished.wait(0.2)  # the watch ticks meanwhile
    now[0] = 0.3
    tenure.check()
    tenure.finish()
