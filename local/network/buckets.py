"""Request budgets of simulated hosts: fixed windows per client address, as PDSs count them.

A window starts at its first request and never slides: a client that reads the headers can use the whole
budget without a single 429.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from local.network.faults import HiddenLimit, RateLimited


@dataclass
class _Window:
    ends: float
    used: int = 0


class Buckets:
    """The windows of one host. ``clock`` gives epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, str], _Window] = {}

    def spend(self, fault: RateLimited, client: str, method: str) -> tuple[bool, dict[str, str]]:
        """Count a request; returns whether it is allowed and the headers that say so.

        As the reference PDS does it, RateLimit-Reset in epoch seconds is rounded down, and a refusal has no
        Retry-After.
        """
        own = fault.repo_limit is not None and method == "com.atproto.sync.getRepo"
        limit = fault.repo_limit if own and fault.repo_limit is not None else fault.limit
        window, now = self._count("repo" if own else "global", client, fault.window)
        wait = window.ends - now
        headers = {
            "RateLimit-Limit": str(limit),
            "RateLimit-Remaining": str(max(0, limit - window.used)),
            "RateLimit-Reset": str(int(window.ends) if fault.reset == "epoch" else math.ceil(wait)),
            "RateLimit-Policy": f"{limit};w={fault.window}",
        }
        return window.used <= limit, headers

    def spend_hidden(self, fault: HiddenLimit, client: str) -> tuple[bool, dict[str, str]]:
        """The same for the budget nobody is told of: headers are only those of a refusal."""
        window, now = self._count("hidden", client, fault.window)
        allowed = window.used <= fault.limit
        told = {} if allowed or not fault.retry_after else {"Retry-After": str(math.ceil(window.ends - now))}
        return allowed, told

    def _count(self, bucket: str, client: str, seconds: float) -> tuple[_Window, float]:
        now = self._clock()
        window = self._windows.get((bucket, client))
        if window is None or now >= window.ends:
            window = self._windows[bucket, client] = _Window(ends=now + seconds)
        window.used += 1
        return window, now
