"""The outcome of a scenario, and what `results.json` says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.measure import Reading, Usage

_MICRO = 1e6


@dataclass(frozen=True)
class Figures:
    """`count` units of work, e.g. records, done between the two moments of `reading`."""

    unit: str
    """In the singular: `record`, `item`, `task`."""
    count: int
    reading: Reading
    measured: tuple[str, ...]
    """Names of the processes that the figures are about; others of the reading stand beside them."""

    @property
    def per_second(self) -> float:
        """Units a second of wall time."""
        return self.count / self.reading.wall_seconds

    @property
    def cpu_us(self) -> float:
        """CPU microseconds of the measured processes, a unit."""
        return sum(self._us(self.reading.usage[name]) for name in self.measured)

    @property
    def peak_rss_mb(self) -> float:
        """The sum of the measured processes' peaks."""
        return sum(self.reading.usage[name].peak_rss_mb for name in self.measured)

    def beside(self, name: str) -> float:
        """CPU microseconds of another process over the same span, a unit."""
        return self._us(self.reading.usage[name])

    def as_json(self) -> dict[str, Any]:
        """Keys carry the unit: `records_per_second`, `cpu_us_per_record`."""
        said: dict[str, Any] = {
            f"{self.unit}s": self.count,
            "wall_seconds": self.reading.wall_seconds,
            f"{self.unit}s_per_second": self.per_second,
            f"cpu_us_per_{self.unit}": self.cpu_us,
            "peak_rss_mb": self.peak_rss_mb,
        }
        usage = self.reading.usage
        beside: dict[str, Any] = {
            name: self._process(usage[name]) for name in usage if name not in self.measured
        }
        if len(self.measured) > 1:
            beside["processes"] = {name: self._process(usage[name]) for name in self.measured}
        return said | beside

    def _process(self, usage: Usage) -> dict[str, float]:
        return {f"cpu_us_per_{self.unit}": self._us(usage), "peak_rss_mb": usage.peak_rss_mb}

    def _us(self, usage: Usage) -> float:
        return usage.cpu_seconds * _MICRO / self.count
