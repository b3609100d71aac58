"""One go at one account, against a host that misbehaves: whatever its end, nothing stays taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from atp.identity import Resolver
from atp.limiter import HostLimiter
from atp.retry import Backoff
from atp.xrpc import Client
from local.network.faults import Corrupted, CutShort, Fault, HiddenLimit, HostDown, Moved, Slow, Unavailable
from local.network.network import Network
from schemas.dids import DidTask
from stream_workers.fetch.budget import ByteBudget
from stream_workers.fetch.ending import Ending, Failed, Fetched, Requeued, Retry
from stream_workers.fetch.fetcher import Fetcher
from stream_workers.fetch.selection import Selection
from tests.atp.test_limiter import Clock
from tests.stream_workers.deployment import tasks_of
from tests.stream_workers.documents import backfill, job_spec

PLENTY = 2**24


class Breaking(Selection):
    """A selection with a bug."""

    def judge(self, *_: object) -> NoReturn:
        raise ZeroDivisionError("a bug")


@dataclass
class Place:
    """A fetcher, and all that it takes from others."""

    network: Network
    budget: ByteBudget
    client: Client
    reader: ThreadPoolExecutor
    folder: Path
    limiter: HostLimiter
    spool_bytes: int = PLENTY

    @property
    def fetcher(self) -> Fetcher:
        patience = Backoff(attempts=1)
        resolver = Resolver(self.client, plc_url=self.network.plc_url, backoff=patience)
        return Fetcher(
            self.client,
            resolver,
            self.budget,
            self.reader,
            spool_bytes=self.spool_bytes,
            spool_folder=self.folder,
        )

    def task(self, number: int = 0, **fields: object) -> DidTask:
        (task,) = tasks_of(self.network, "job", [number], **fields)
        return task

    async def go(
        self, task: DidTask, *, max_retries: int = 3, seconds: float = 300, selection: Selection | None = None
    ) -> Ending:
        limits = {"requests_per_second": 1000, "max_retries": max_retries, "timeout_seconds": seconds}
        spec = job_spec("job", processing=limits)
        return await self.fetcher.fetch(task, spec, selection or Selection(spec.backfill), self.limiter)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """Two hosts with two accounts each."""
    clock = Clock()
    with ThreadPoolExecutor(1) as reader:
        async with (
            Network(seed=4, accounts=4, hosts=2, records=50) as network,
            Client(allow_private_hosts=True) as client,
        ):
            limiter = HostLimiter(clock, clock.sleep)
            yield Place(network, ByteBudget(PLENTY), client, reader, tmp_path / "spool", limiter)


async def test_what_was_fetched_holds_its_memory_until_it_is_closed(place: Place) -> None:
    ending = await place.go(place.task())
    assert isinstance(ending, Fetched)
    assert place.budget.used == ending.size == ending.spool.size
    assert ending.messages is not None
    assert len(ending.messages) == sum(ending.events.records.values())
    assert ending.seconds > 0
    ending.spool.close()
    assert place.budget.used == 0


async def test_a_large_one_is_left_to_be_read_from_its_file(place: Place) -> None:
    place.spool_bytes = 1000
    ending = await place.go(place.task())
    assert isinstance(ending, Fetched)
    assert ending.messages is None
    assert place.budget.used == 0
    assert len(list(ending.events)) == len(next(place.network.truth()).records)
    ending.spool.close()


@pytest.mark.parametrize(
    ("fault", "expected", "reason"),
    [
        (Unavailable(0, "takendown"), Failed, "RepoTakendown"),
        (Unavailable(0, "not_found"), Failed, "RepoNotFound"),
        (Corrupted(0, "flipped_byte"), Failed, "BlockMismatch"),
        (Corrupted(0, "wrong_signature"), Failed, "SignatureInvalid"),
        (Corrupted(0, "missing_block"), Retry, "BlockMissing"),
        (CutShort(account=0), Retry, "HostUnreachable"),
        (Slow(account=0, seconds=9), Retry, "HostTimeout"),
        (HostDown(0), Retry, "HostUnreachable"),
        (Moved(0, to_host=1), Requeued, ""),
    ],
)
@pytest.mark.parametrize("spool_bytes", [1000, PLENTY])
async def test_no_end_keeps_memory_or_a_place_at_the_host(
    place: Place, fault: Fault, expected: type[Ending], reason: str, spool_bytes: int
) -> None:
    place.spool_bytes = spool_bytes
    await place.network.inject(fault)
    ending = await place.go(place.task(), seconds=1 if isinstance(fault, Slow) else 300)
    assert isinstance(ending, expected)
    if isinstance(ending, Failed | Retry):
        assert ending.reason == reason
        assert ending.seconds > 0
    assert place.budget.used == 0
    assert place.limiter.budget.under_way == 0


async def test_a_go_that_is_broken_off_gives_everything_back(place: Place) -> None:
    await place.network.inject(Slow(account=0, seconds=60))
    going = asyncio.create_task(place.go(place.task()))
    while place.network.ledger.most_in_flight("pds0") == 0:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert place.budget.used == 0
    assert place.limiter.budget.under_way == 0


async def test_the_wait_doubles_with_every_attempt_and_ends_somewhere(place: Place) -> None:
    await place.network.inject(HostDown(0))
    delays = []
    for attempt in (1, 2, 3, 4, 40):
        ending = await place.go(place.task(attempt=attempt), max_retries=50)
        assert isinstance(ending, Retry)
        delays.append(ending.delay)
    for delay, around in zip(delays, (1, 2, 4, 8, 300), strict=True):
        assert 0.75 * around <= delay <= 1.25 * around


async def test_the_last_attempt_fails(place: Place) -> None:
    await place.network.inject(HostDown(0))
    assert isinstance(await place.go(place.task(attempt=3), max_retries=3), Retry)
    assert isinstance(await place.go(place.task(attempt=4), max_retries=3), Failed)
    assert isinstance(await place.go(place.task(attempt=1), max_retries=0), Failed)


async def test_a_host_that_only_ever_refuses_costs_an_attempt_in_the_end(place: Place) -> None:
    await place.network.inject(HiddenLimit(0, limit=0))
    ending = await place.go(place.task())
    assert isinstance(ending, Retry)
    assert (ending.error_type, ending.reason) == ("rate_limit_error", "RateLimited")
    assert place.network.ledger.count(host="pds0", status=429) == 30


async def test_a_directory_that_does_not_answer_ends_nothing(place: Place) -> None:
    """The host says that the account is gone, but whether it moved nobody knows."""
    await place.network.inject(Moved(0, to_host=1))
    await place.network.host_down("plc")
    ending = await place.go(place.task())
    assert isinstance(ending, Retry)
    assert (ending.error_type, ending.reason) == ("network_error", "IdentityUnreachable")


async def test_a_host_without_a_public_address_is_not_asked_again(place: Place) -> None:
    ending = await place.go(place.task(pds="ftp://one.test"))
    assert isinstance(ending, Failed)
    assert (ending.status, ending.error_type) == ("failed", "scope_violation")


async def test_a_disk_that_takes_nothing_is_tried_again(place: Place) -> None:
    place.spool_bytes = 1000
    place.folder.write_text("in the way of the folder")
    ending = await place.go(place.task())
    assert isinstance(ending, Retry)
    assert ending.error_type == "processing_failed"
    assert "free space" in ending.detail
    assert place.budget.used == 0


async def test_a_bug_costs_one_account_and_not_the_worker(place: Place) -> None:
    ending = await place.go(place.task(), selection=Breaking(backfill(record_types=["post"])))
    assert isinstance(ending, Failed)
    assert (ending.status, ending.error_type, ending.reason) == (
        "failed",
        "processing_failed",
        "ZeroDivisionError",
    )
    assert place.budget.used == 0


async def test_what_could_not_be_published_is_not_downloaded_twice(place: Place) -> None:
    """Its partition went away after the download, and comes back; the third go is another day's."""
    fetcher, task = place.fetcher, place.task()
    spec = job_spec("job", processing={"requests_per_second": 1000})
    messages = []
    for downloads in (1, 1, 2):
        ending = await fetcher.fetch(task, spec, Selection(spec.backfill), place.limiter)
        assert isinstance(ending, Fetched)
        assert place.network.ledger.count(did=task.did, method="com.atproto.sync.getRepo") == downloads
        assert ending.messages is not None
        messages.append(len(ending.messages))
        if len(messages) == 1:
            fetcher.keep(task, ending)
        else:
            ending.spool.close()
    assert messages == [messages[0]] * 3
    fetcher.close()
    assert place.budget.used == 0


@pytest.mark.parametrize(("denied", "status"), [(0, "requeued"), (1, "skipped")])
async def test_an_account_that_moved_out_of_the_scope_is_not_followed(
    place: Place, denied: int, status: str
) -> None:
    await place.network.inject(Moved(0, to_host=1))
    task, hosts = place.task(), place.network.hosts
    spec = job_spec("job", scope={"deny": {"hosts": [hosts[denied]]}})
    ending = await place.fetcher.fetch(task, spec, Selection(spec.backfill), place.limiter)
    if status == "requeued":
        assert isinstance(ending, Requeued)
        assert ending.task.pds == hosts[1]
    else:
        assert isinstance(ending, Failed)
        assert (ending.status, ending.error_type) == ("skipped", "scope_violation")
