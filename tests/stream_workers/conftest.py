"""One tour through a misbehaving network, judged by the tests of several modules."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from tests.stream_workers.tour import Tour, travel


@pytest.fixture(scope="session")
def tour(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Tour:
    """The tour, once for all tests that judge it."""
    prefix = f"t{secrets.token_hex(4)}."
    return asyncio.run(travel(kafka, prefix, tmp_path_factory.mktemp("tour")))
