"""What tests of several modules share: one tour through a misbehaving network, and a fetcher beside one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atp.xrpc import Client
from local.network.network import Network
from tests.stream_workers.place import SIZE, Place
from tests.stream_workers.tour import Tour, travel


@pytest.fixture(scope="session")
def tour(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Tour:
    """The tour, once for all tests that judge it."""
    prefix = f"t{secrets.token_hex(4)}."
    return asyncio.run(travel(kafka, prefix, tmp_path_factory.mktemp("tour")))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    with ThreadPoolExecutor(1) as reader:
        async with (
            Network(seed=6, accounts=4, hosts=2, records=60, sizes={0: SIZE}) as network,
            Client(allow_private_hosts=True) as client,
        ):
            yield Place(network, client, reader, tmp_path / "spool")
