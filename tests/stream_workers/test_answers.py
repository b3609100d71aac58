"""What odd hosts answer, and what becomes of the account's task: the table of docs/hosts.md, row by row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atp.blame import blame_for
from atp.identity import Resolver
from atp.limiter import HostLimiter
from atp.xrpc import Client
from local.network import oddities
from local.network.faults import Odd
from local.network.network import Network
from local.network.oddities import ODDITIES
from schemas.errors import XrpcError
from stream_workers.fetch.budget import ByteBudget
from stream_workers.fetch.ending import Failed, Fetched, Retry
from stream_workers.fetch.fetcher import Fetcher
from stream_workers.fetch.selection import Selection
from tests.atp.test_limiter import Clock
from tests.stream_workers.deployment import tasks_of
from tests.stream_workers.documents import job_spec

ANSWERS = [name for name, oddity in ODDITIES.items() if oddity.answer is not None]
SILENCE = 0.3  # seconds, instead of half a minute


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_task_that_meets_an_odd_answer(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, clock = ODDITIES[name], Clock()
    monkeypatch.setattr(oddities, "_TRICKLE_SECONDS", 0.01)
    met: list[XrpcError] = []
    with ThreadPoolExecutor(1) as reader:
        async with (
            Network(seed=8, accounts=1, hosts=1, records=100, spread=0) as network,
            Client(allow_private_hosts=True, timeout=SILENCE) as client,
        ):
            await network.inject(Odd(account=0, answer=name))
            fetcher = Fetcher(
                client,
                Resolver(client, plc_url=network.plc_url),
                ByteBudget(2**24),
                reader,
                spool_bytes=2**20,
                spool_folder=tmp_path,
            )
            (task,) = tasks_of(network, "job", [0])
            limits = {"requests_per_second": 1000, "max_retries": 1, "timeout_seconds": 1}
            spec = job_spec("job", processing=limits)
            limiter = HostLimiter(clock, clock.sleep)
            ending = await fetcher.fetch(task, spec, Selection(spec.backfill), limiter)
            try:
                async with client.get_repo(task.pds, task.did, total=1) as download:
                    async for _ in download:
                        pass
            except XrpcError as error:
                met.append(error)
    if expected.error_type is None:
        assert isinstance(ending, Fetched)
        assert sum(ending.events.records.values()) == 100
        ending.spool.close()
        assert not met
        return
    assert isinstance(ending, Retry if expected.again else Failed), ending
    assert (ending.error_type, ending.reason) == (expected.error_type, expected.reason)
    assert [blame_for(error) for error in met] in ([], [expected.about])
