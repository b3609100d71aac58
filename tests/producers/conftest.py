"""Topics under a prefix of their own, and a directory of accounts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.producers.deployment import Book, Deployment, deploy


@pytest.fixture
def deployment(
    kafka: str, prefix: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Deployment]:
    """Parametrized indirectly with the arguments of `deploy` where a test needs others."""
    deployment = deploy(kafka, prefix, tmp_path / "data", **getattr(request, "param", {}))
    yield deployment
    deployment.close()


@pytest.fixture
def book() -> Book:
    return Book()
