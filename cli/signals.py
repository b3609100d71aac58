"""SIGTERM and SIGINT as a clean end: an event for threads, a cancellation for coroutines."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """A signal has ended the command; `code` is its exit code. Told once the display is gone."""

    def __init__(self, farewell: str, code: int) -> None:
        super().__init__(farewell)
        self.code = code


def stop_on_signals() -> threading.Event:
    """An event that either signal sets."""
    stop = threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    return stop


def run_until_signal(work: Coroutine[Any, Any, T], farewell: str, *, code: int | None = None) -> T:
    """The result of `work`. A signal cancels it, which has to leave everything in order.

    Interrupted follows, with `code`, or with 128 and the signal's number, as shells do.
    """
    caught: list[int] = []
    try:
        return asyncio.run(_cancelled_by_signals(work, caught))
    except asyncio.CancelledError:
        if not caught:
            raise
        raise Interrupted(farewell, 128 + caught[0] if code is None else code) from None


async def _cancelled_by_signals(work: Coroutine[Any, Any, T], caught: list[int]) -> T:
    working = asyncio.create_task(work)
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        caught.append(number)
        working.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number)
    return await working
