"""Reading that waits for others, and knows nothing of an event loop, in a thread beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(step: Callable[[], T], hurry: Callable[[], object] = lambda: None) -> T:
    """The result of `step`. Whoever is cancelled meanwhile goes on only once the step is over: what it works
    on may be closed then. `hurry` is called to tell the step, which may take long, that nobody waits for it
    any more."""
    work = asyncio.ensure_future(asyncio.to_thread(step))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        hurry()
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()  # seen
        raise
