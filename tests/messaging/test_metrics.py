"""Metrics are declared once; what is unknown has no sample, and a scrape never fails."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from docs.generate import METRICS
from messaging.metrics import CounterOf, GaugeOf, HistogramOf, Readings, new_registry

DECLARED = [metric for section in METRICS for metric in section.metrics]


def test_every_metric_is_declared_once_and_says_what_it_tells() -> None:
    assert [name for name, count in Counter(m.name for m in DECLARED).items() if count > 1] == []
    for metric in DECLARED:
        assert metric.help.endswith("."), metric.name
        assert len(metric.tells) > 30, metric.name
        assert "|" not in metric.help + metric.tells, "it would break the table of the document"


@pytest.mark.parametrize(
    ("kind", "name"), [(CounterOf, "skyfill_things"), (GaugeOf, "things"), (HistogramOf, "things_seconds")]
)
def test_a_name_that_breaks_the_rules_is_refused(kind: type[GaugeOf], name: str) -> None:
    with pytest.raises(ValueError, match="has to"):
        kind(name, "Things.", "Nothing.")


def test_what_is_made_for_no_registry_counts_for_nobody() -> None:
    metric = CounterOf("skyfill_things_total", "Things.", "Nothing.")
    metric.make(None).inc()
    registry = CollectorRegistry()
    metric.make(registry).inc(2)
    assert registry.get_sample_value("skyfill_things_total") == 2


def test_the_unknown_has_no_sample_and_a_failure_hides_only_itself() -> None:
    registry = CollectorRegistry()
    readings = Readings(registry)
    known: dict[tuple[str, ...], float] = {("a",): 1.0}

    def fails() -> float:
        raise RuntimeError("dictionary changed size during iteration")

    readings.show(GaugeOf("skyfill_known", "Known.", "Nothing.", ("place",)), lambda: known)
    readings.show_value(GaugeOf("skyfill_unknown", "Unknown.", "Nothing."), lambda: None)
    readings.show_value(GaugeOf("skyfill_fails", "Fails.", "Nothing."), fails)
    readings.show_value(GaugeOf("skyfill_zero", "Zero.", "Nothing."), lambda: 0)
    text = generate_latest(registry).decode()
    assert 'skyfill_known{place="a"} 1.0' in text
    assert "skyfill_zero 0.0" in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert not [line for line in lines if line.startswith(("skyfill_unknown", "skyfill_fails"))]


def test_what_fails_half_way_is_not_shown_in_part() -> None:
    class Changing(dict[tuple[str, ...], float]):
        def items(self) -> Any:
            yield ("a",), 1.0
            raise RuntimeError("dictionary changed size during iteration")

    registry = CollectorRegistry()
    Readings(registry).show(GaugeOf("skyfill_changing", "Changing.", "Nothing.", ("place",)), Changing)
    assert registry.get_sample_value("skyfill_changing", {"place": "a"}) is None


def test_a_process_shows_its_memory_and_cpu() -> None:
    registry = new_registry()
    assert (registry.get_sample_value("process_resident_memory_bytes") or 0) > 2**20
    assert registry.get_sample_value("process_cpu_seconds_total") is not None
