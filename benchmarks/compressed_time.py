"""An event loop whose clock jumps: where everything waits, the wait is over at once; half an hour takes
seconds.

Only for code that waits by the loop's own means: nothing may depend on another thread or process.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jump(selectors.DefaultSelector):
    """A selector that never waits and tells how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.jumped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See selectors.BaseSelector."""
        events = super().select(0)
        if not events and timeout:
            self.jumped += timeout
        return events


class CompressedTime(asyncio.SelectorEventLoop):
    """`time()` begins at 0 and moves by what is waited for alone."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Seconds of this loop's own time."""
        return self._jump.jumped


def run(main: Coroutine[Any, Any, T]) -> T:
    """The result of `main`, in compressed time."""
    with asyncio.Runner(loop_factory=CompressedTime) as runner:
        return runner.run(main)
