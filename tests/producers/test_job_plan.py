"""One plan through its source: each account once, whatever is repeated, slow, restarted or changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from atp.identity import Identity
from producers.chunk import Chunk
from producers.job_plan import JobPlan
from producers.sources import open_source
from producers.sources.base import AccountSource
from schemas.backfill import Backfill, FileSource, InlineSource
from schemas.errors import DeploymentError, SourceError
from schemas.job_specs import JobSpec
from schemas.plans import PlanCheckpoint
from tests.producers.deployment import KEY, Book, did

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = PlanCheckpoint(job_id="job")


def inline(*dids: str) -> AccountSource:
    return open_source(InlineSource(type="inline", dids=list(dids)))


def spec(batch_size: int) -> JobSpec:
    backfill = Backfill.model_validate(
        {
            "source": {"type": "inline", "dids": ["x"]},
            "storage": {"type": "parquet", "path": "o"},
            "processing": {"batch_size": batch_size},
        }
    )
    return JobSpec(job_id="job", backfill=backfill, submitted_at=NOW)


@asynccontextmanager
async def plan_of(
    source: AccountSource,
    book: Book,
    folder: Path,
    checkpoint: PlanCheckpoint = START,
    *,
    batch: int = 100,
    monotonic: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[JobPlan]:
    plan = JobPlan(
        spec(batch),
        checkpoint,
        source,
        book,
        folder=folder,
        concurrency=4,
        chunk_seconds=5,
        now=lambda: NOW,
        monotonic=monotonic,
    )
    try:
        yield plan
    finally:
        await plan.close()


async def next_chunk(plan: JobPlan) -> Chunk:
    async with asyncio.timeout(20):
        while (chunk := await plan.chunk(1)) is None:
            pass
    return chunk


async def all_chunks(plan: JobPlan) -> list[Chunk]:
    chunks = [await next_chunk(plan)]
    while not chunks[-1].checkpoint.finished:
        chunks.append(await next_chunk(plan))
    return chunks


def dids(chunks: list[Chunk]) -> list[str]:
    return [task.did for chunk in chunks for task in chunk.tasks]


async def test_chunks_count_on_and_the_last_one_finishes(book: Book, tmp_path: Path) -> None:
    async with plan_of(inline(*map(did, range(7))), book, tmp_path, batch=3) as plan:
        chunks = await all_chunks(plan)
    assert dids(chunks) == [did(n) for n in range(7)]
    assert [(c.checkpoint.cursor, c.checkpoint.planned, c.checkpoint.finished) for c in chunks] == [
        (3, 3, False),
        (6, 6, False),
        (7, 7, True),
    ]
    assert os.listdir(tmp_path) == []


async def test_an_account_named_again_is_a_duplicate_however_it_is_named(book: Book, tmp_path: Path) -> None:
    book.answers["alice.example"] = Identity(did(1), "alice.example", "https://a.example", KEY)
    entries = [did(1), "alice.example", did(2), "@Alice.example", did(1), "nobody.example", "nobody.example"]
    async with plan_of(inline(*entries), book, tmp_path, batch=2) as plan:
        chunks = await all_chunks(plan)
    assert dids(chunks) == [did(1), did(2)]
    last = chunks[-1].checkpoint
    assert (last.cursor, last.planned, last.duplicates) == (7, 3, 4)
    assert [o.did for chunk in chunks for o in chunk.outcomes] == ["nobody.example"]


@pytest.mark.parametrize("done", range(1, 4))
async def test_after_a_restart_at_any_chunk_nothing_is_planned_twice_or_lost(
    done: int, book: Book, tmp_path: Path
) -> None:
    book.answers["alice.example"] = Identity(did(1), "alice.example", "https://a.example", KEY)
    book.answers["bob.example"] = Identity(did(2), "bob.example", "https://a.example", KEY)
    entries = [
        "alice.example",
        did(2),
        did(3),
        did(3),
        did(1),
        "bob.example",
        did(4),
        "nobody.example",
        did(5),
    ]
    async with plan_of(inline(*entries), book, tmp_path, batch=2) as plan:
        before = (await all_chunks(plan))[:done]
    async with plan_of(inline(*entries), book, tmp_path, before[-1].checkpoint, batch=2) as plan:
        after = await all_chunks(plan)
    assert sorted(dids(before + after)) == sorted(did(n) for n in range(1, 6))
    last = after[-1].checkpoint
    assert (last.cursor, last.planned, last.duplicates, last.finished) == (9, 6, 3, True)


async def test_dids_before_the_checkpoint_are_not_resolved_again(book: Book, tmp_path: Path) -> None:
    source = inline(*map(did, range(50)))
    async with plan_of(source, book, tmp_path, batch=40) as plan:
        first = await next_chunk(plan)
    book.asked.clear()
    async with plan_of(source, book, tmp_path, first.checkpoint, batch=40) as plan:
        await all_chunks(plan)
    assert book.asked == [did(n) for n in range(40, 50)]


@pytest.mark.parametrize(
    "changed",
    [
        [did(9), did(2), did(3), did(4)],
        [did(2), did(1), did(3), did(4)],
        [did(1)],
    ],
    ids=["replaced", "swapped", "shorter"],
)
async def test_a_source_that_changed_since_the_checkpoint_ends_the_plan(
    changed: list[str], book: Book, tmp_path: Path
) -> None:
    async with plan_of(inline(*map(did, range(1, 5))), book, tmp_path, batch=2) as plan:
        first = await next_chunk(plan)
    async with plan_of(inline(*changed), book, tmp_path, first.checkpoint, batch=2) as plan:
        chunk = await next_chunk(plan)
    assert chunk.tasks == []
    assert "changed while its job was being planned" in (chunk.failure or "")
    assert chunk.checkpoint == first.checkpoint.model_copy(update={"finished": True})


async def test_a_chunk_ends_when_its_time_is_up_and_always_moves_on(book: Book, tmp_path: Path) -> None:
    seconds = 0.0

    def clock() -> float:
        nonlocal seconds
        seconds += 2.0
        return seconds

    async with plan_of(inline(*map(did, range(5))), book, tmp_path, monotonic=clock) as plan:
        chunks = await all_chunks(plan)
    assert dids(chunks) == [did(n) for n in range(5)]
    assert 2 <= len(chunks) <= 5


async def test_a_slow_directory_costs_its_turn_and_nothing_more(book: Book, tmp_path: Path) -> None:
    open_gate = False
    book.gate = lambda: open_gate
    async with plan_of(inline(*map(did, range(9))), book, tmp_path) as plan:
        assert await plan.chunk(0.01) is None
        assert await plan.chunk(0.01) is None
        open_gate = True
        assert dids([await next_chunk(plan)]) == [did(n) for n in range(9)]


async def test_dropping_a_plan_stops_its_work(book: Book, tmp_path: Path) -> None:
    book.gate = lambda: False
    async with plan_of(inline(did(1)), book, tmp_path) as plan:
        assert await plan.chunk(0.01) is None
        assert book.at_once == 1
    assert book.at_once == 0


class Breaking(AccountSource):
    """A source whose disk breaks after a few entries."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @property
    def name(self) -> str:
        return "broken disk"

    def _entries(self) -> Iterator[str]:
        yield from map(did, range(3))
        raise self._error


@pytest.mark.parametrize("error", [SourceError("broken disk: sector 7"), ZeroDivisionError("sector 7")])
async def test_a_source_that_breaks_keeps_what_it_gave(error: Exception, book: Book, tmp_path: Path) -> None:
    async with plan_of(Breaking(error), book, tmp_path) as plan:
        chunk = await next_chunk(plan)
    assert dids([chunk]) == [did(n) for n in range(3)]
    assert chunk.checkpoint.finished
    assert chunk.checkpoint.planned == 3
    assert "sector 7" in (chunk.failure or "")
    assert "broken disk" in (chunk.failure or "")


async def test_an_empty_source_is_a_failure(book: Book, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.touch()
    async with plan_of(open_source(FileSource(type="file", path=str(empty))), book, tmp_path) as plan:
        chunk = await next_chunk(plan)
    assert "holds no accounts" in (chunk.failure or "")
    assert (chunk.checkpoint.planned, chunk.checkpoint.finished) == (0, True)


async def test_many_accounts_stay_out_of_memory(book: Book, tmp_path: Path) -> None:
    """The table of accounts seen lives on disk, and leaves no file behind."""
    entries = tmp_path / "many.txt"
    entries.write_text("".join(f"did:plc:{n}\n" for n in range(30_000)) * 2)
    folder = tmp_path / "seen"
    source = open_source(FileSource(type="file", path=str(entries)))
    async with plan_of(source, book, folder, batch=50_000) as plan:
        chunks = await all_chunks(plan)
        assert os.listdir(folder) == []
    assert chunks[-1].checkpoint.planned == 30_000
    assert chunks[-1].checkpoint.duplicates == 30_000


async def test_a_folder_that_can_not_be_written_is_named(book: Book, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeploymentError, match="SKYFILL_DATA_DIR"):
        async with plan_of(inline(did(1)), book, tmp_path / "file" / "below"):
            pass
