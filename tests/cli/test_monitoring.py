"""What a document wants of its processes, and what was set for the machine, which comes first."""

from __future__ import annotations

import pytest

from cli.run import monitored
from schemas.backfill import Monitoring
from schemas.settings import Settings


def test_a_documents_port_and_level_are_taken() -> None:
    taken = monitored(Settings(), Monitoring(prometheus_port=9100, log_level="DEBUG"))
    assert (taken.metrics.port, taken.metrics.host, taken.log_level) == (9100, "127.0.0.1", "DEBUG")


@pytest.mark.parametrize(("variable", "port"), [("7000", 7000), ("null", None), ("8000", 8000)])
def test_a_port_that_was_set_comes_first(
    monkeypatch: pytest.MonkeyPatch, variable: str, port: int | None
) -> None:
    monkeypatch.setenv("SKYFILL_METRICS__PORT", variable)
    assert monitored(Settings(), Monitoring(prometheus_port=9100)).metrics.port == port


def test_an_address_alone_leaves_the_port_to_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYFILL_METRICS__HOST", "127.0.0.2")
    taken = monitored(Settings(), Monitoring(prometheus_port=9100)).metrics
    assert (taken.host, taken.port) == ("127.0.0.2", 9100)
