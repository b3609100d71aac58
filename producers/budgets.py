"""How fast a host may be asked over a long time, as far as its last worker has learnt it."""

from __future__ import annotations

from typing import Literal

from schemas.hosts import HostState

Budget = Literal["advertised", "learnt", "document"]


def pace_of(host: HostState | None, limit: float) -> tuple[float, Budget]:
    """Requests a second, at most the document's `limit`, and what decides it.

    A budget that is more generous than the limit decides nothing.
    """
    paces: list[tuple[float, Budget]] = [(limit, "document")]
    if host is not None:
        paces += [
            (bucket.limit / bucket.window_seconds, "advertised")
            for bucket in host.buckets
            if bucket.window_seconds and bucket.limit
        ]
        hidden = host.hidden
        if hidden is not None and hidden.limit and hidden.longest_seconds:
            paces.append((hidden.limit / hidden.longest_seconds, "learnt"))
    return min(paces, key=lambda pace: pace[0])
