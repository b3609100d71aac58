"""How the lag of each group's topic went over the last minutes, for a small chart. Bounded, and pure.

What was not known at a look leaves no point.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from messaging.lag import Lag, by_topic

KEPT_SECONDS = 900.0
_STEP_SECONDS = 5.0
_WIDTH, _HEIGHT, _ABOVE = 100.0, 20.0, 1.5
"""Of the drawing, in units of its own."""


@dataclass(frozen=True)
class Line:
    """A line to draw, and what it says."""

    points: str
    """Of an SVG polyline in a box of 100 by 20."""
    words: str


class LagTrail:
    """Life: `add` every look, ask for a `line`."""

    def __init__(self) -> None:
        self._trails: dict[tuple[str, str], deque[tuple[float, int]]] = {}
        self._last = float("-inf")

    def add(self, lags: Iterable[Lag], at: float) -> None:
        """A look at the time `at` (seconds, of any clock that goes forward)."""
        if at < self._last + _STEP_SECONDS:
            return
        self._last = at
        for total in by_topic(lags):
            if total.lag is not None and not total.unknown:
                trail = self._trails.setdefault((total.group, total.topic), deque())
                trail.append((at, total.lag))
        for trail in self._trails.values():
            while trail and trail[0][0] < at - KEPT_SECONDS:
                trail.popleft()

    def line(self, group: str, topic: str) -> Line | None:
        """None where fewer than two looks knew the lag."""
        trail = list(self._trails.get((group, topic), ()))
        if len(trail) < 2:
            return None
        begin, end = trail[0][0], trail[-1][0]
        most = max(lag for _, lag in trail) or 1
        points = " ".join(
            f"{_WIDTH * (at - begin) / (end - begin):.1f},"
            f"{_HEIGHT - _ABOVE - (_HEIGHT - 2 * _ABOVE) * lag / most:.1f}"
            for at, lag in trail
        )
        minutes = max(1, round((end - begin) / 60))
        words = f"from {trail[0][1]:,} to {trail[-1][1]:,} within {minutes} min, at most {most:,}"
        return Line(points, words if any(lag for _, lag in trail) else f"nothing waited for {minutes} min")
