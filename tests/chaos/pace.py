"""Keeps a job from ending before its campaign does, by how long the simulated hosts take to answer.

It never stands still: at every pace accounts are being fetched, so that there is work to be struck in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from local.network.faults import Slow
from local.network.network import Network

_LOOK_SECONDS = 1.0
_PACES = ((0.0, 1.0), (0.02, 5.0), (0.05, 12.0))
"""How far the job is ahead, as a share of its accounts, and how many seconds each answer is late then."""
_CALMEST = 25.0
"""Seconds, for a job that is further ahead. Workers give a silent host up after 30."""


async def keep_pace(network: Network, ahead: Callable[[], float | None]) -> None:
    """Until cancelled. `ahead` tells how far ahead of the plan the job is; None: let it run free."""
    slow: list[Slow] = []
    while True:
        share = ahead()
        late = 0.0 if share is None else seconds_late(share)
        if [fault.seconds for fault in slow[:1]] != [late]:
            for fault in slow:
                await network.withdraw(fault)
            slow = [Slow(host=host, seconds=late) for host in range(len(network.hosts))]
            for fault in slow:
                await network.inject(fault)
        await asyncio.sleep(_LOOK_SECONDS)


def seconds_late(ahead: float) -> float:
    """How late each answer comes while the job is so far ahead."""
    return next((seconds for most, seconds in _PACES if ahead <= most), _CALMEST)
