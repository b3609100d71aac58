"""One plan through its source: each account once, whatever is repeated, slow, restarted or changed."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from atp.identity import Identity
from producers.chunk import Chunk
from producers.job_plan import JobPlan
from producers.sources.base import AccountSource, Entry, Page
from producers.sources.file import FileAccounts
from producers.sources.inline import InlineAccounts
from producers.sources.listed import ListedAccounts
from schemas.backfill import Backfill
from schemas.errors import DeploymentError, IdentityTombstoned, SourceError
from schemas.job_specs import JobSpec
from schemas.plans import PlanCheckpoint
from schemas.sources import FileSource, InlineSource
from tests.producers.deployment import KEY, Book, did

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = PlanCheckpoint(job_id="job")


def inline(*dids: str, page: int = 2) -> AccountSource:
    return InlineAccounts(InlineSource(type="inline", dids=list(dids)), page)


def spec(batch_size: int, **sections: Any) -> JobSpec:
    backfill = Backfill.model_validate(
        {
            "source": {"type": "inline", "dids": ["x"]},
            "storage": {"type": "parquet", "path": "o"},
            "processing": {"batch_size": batch_size},
        }
        | sections
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
    **sections: Any,
) -> AsyncIterator[JobPlan]:
    plan = JobPlan(
        spec(batch, **sections),
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


def entries_read(chunk: Chunk) -> int:
    """Of a list, up to the chunk's end."""
    return int(orjson.loads(chunk.checkpoint.cursor or "[0]")[0])


async def test_chunks_count_on_and_the_last_one_finishes(book: Book, tmp_path: Path) -> None:
    async with plan_of(inline(*map(did, range(7)), page=3), book, tmp_path, batch=3) as plan:
        chunks = await all_chunks(plan)
    assert dids(chunks) == [did(n) for n in range(7)]
    said = [
        (entries_read(c), c.checkpoint.chunk, c.checkpoint.planned, c.checkpoint.finished) for c in chunks
    ]
    assert said == [(3, 1, 3, False), (6, 2, 6, False), (7, 3, 7, False), (7, 4, 7, True)]


async def test_a_chunk_takes_whole_pages_and_no_more_than_a_batch(book: Book, tmp_path: Path) -> None:
    async with plan_of(inline(*map(did, range(20)), page=3), book, tmp_path, batch=7) as plan:
        chunks = await all_chunks(plan)
    assert [len(chunk.tasks) for chunk in chunks] == [6, 6, 6, 2]


async def test_an_account_named_again_is_a_duplicate_however_it_is_named(book: Book, tmp_path: Path) -> None:
    book.answers["alice.example"] = Identity(did(1), "alice.example", "https://a.example", KEY)
    entries = [did(1), "alice.example", did(2), "@Alice.example", did(1), "nobody.example", "nobody.example"]
    async with plan_of(inline(*entries), book, tmp_path, batch=2) as plan:
        chunks = await all_chunks(plan)
    assert dids(chunks) == [did(1), did(2)]
    last = chunks[-1].checkpoint
    assert (entries_read(chunks[-1]), last.planned, last.duplicates) == (7, 3, 4)
    assert [o.did for chunk in chunks for o in chunk.outcomes] == ["nobody.example"]
    assert book.asked.count("alice.example") == 1


async def test_a_handle_and_its_did_in_one_page_are_one_account(book: Book, tmp_path: Path) -> None:
    book.answers["alice.example"] = Identity(did(1), "alice.example", "https://a.example", KEY)
    book.answers["alias.example"] = Identity(did(1), "alice.example", "https://a.example", KEY)
    entries = ["alice.example", did(1), did(1), "alias.example"]
    async with plan_of(inline(*entries, page=10), book, tmp_path) as plan:
        chunk = await next_chunk(plan)
    assert dids([chunk]) == [did(1)]
    assert (chunk.checkpoint.planned, chunk.checkpoint.duplicates) == (1, 3)


ENTRIES = ["alice.example", did(2), did(3), did(3), did(1), "bob.example", did(4), "nobody.example", did(5)]


@pytest.mark.parametrize("lost", [False, True], ids=["table kept", "table lost"])
@pytest.mark.parametrize("done", range(1, 5))
async def test_after_a_restart_at_any_chunk_nothing_is_planned_twice_or_lost(
    done: int, lost: bool, book: Book, tmp_path: Path
) -> None:
    book.answers["alice.example"] = Identity(did(1), "alice.example", "https://a.example", KEY)
    book.answers["bob.example"] = Identity(did(2), "bob.example", "https://a.example", KEY)
    async with plan_of(inline(*ENTRIES), book, tmp_path, batch=2) as plan:
        # One chunk more stands in the table than was ever committed.
        before = [await next_chunk(plan) for _ in range(done + 1)][:done]
    if lost:
        shutil.rmtree(tmp_path)
    async with plan_of(inline(*ENTRIES), book, tmp_path, before[-1].checkpoint, batch=2) as plan:
        after = await all_chunks(plan)
    assert sorted(dids(before + after)) == sorted(did(n) for n in range(1, 6))
    last = after[-1].checkpoint
    assert (entries_read(after[-1]), last.planned, last.duplicates, last.finished) == (9, 6, 3, True)


async def test_entries_before_the_checkpoint_are_not_resolved_again(book: Book, tmp_path: Path) -> None:
    source = inline("alice.example", *map(did, range(49)), page=40)
    book.answers["alice.example"] = Identity(did(1), "alice.example", "https://a.example", KEY)
    async with plan_of(source, book, tmp_path, batch=40) as plan:
        first = await next_chunk(plan)
    for lost, resolved in ((False, []), (True, ["alice.example"])):
        if lost:
            shutil.rmtree(tmp_path)
        book.asked.clear()
        async with plan_of(source, book, tmp_path, first.checkpoint, batch=40) as plan:
            await all_chunks(plan)
        assert book.asked == [*resolved, *(did(n) for n in range(39, 49))]


async def test_a_table_of_another_plan_is_not_believed(book: Book, tmp_path: Path) -> None:
    """The same job on another broker, or planned on by another machine meanwhile: its table is not ours."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    source = inline(*map(did, range(8)))
    async with plan_of(source, book, mine, batch=2) as plan:
        first = await next_chunk(plan)
    async with plan_of(source, book, other, first.checkpoint, batch=2) as plan:
        second = await next_chunk(plan)
    assert second.checkpoint.seen != first.checkpoint.seen
    again = inline(*map(did, range(8)), did(3), page=2)
    async with plan_of(again, book, mine, second.checkpoint, batch=2) as plan:
        rest = await all_chunks(plan)
    assert dids(rest) == [did(n) for n in range(4, 8)]
    assert rest[-1].checkpoint.duplicates == 1


async def test_a_table_that_can_not_be_read_is_made_anew(book: Book, tmp_path: Path) -> None:
    source = inline(did(1), did(2), did(1), did(3))
    async with plan_of(source, book, tmp_path, batch=2) as plan:
        first = await next_chunk(plan)
    (tmp_path / "job.sqlite").write_bytes(b"no database" * 1000)
    async with plan_of(source, book, tmp_path, first.checkpoint, batch=2) as plan:
        rest = await all_chunks(plan)
    assert dids(rest) == [did(3)]
    assert rest[-1].checkpoint.duplicates == 1


async def test_a_table_that_breaks_in_mid_work_is_removed_and_said(book: Book, tmp_path: Path) -> None:
    source = inline(*map(did, range(3000)), page=500)
    async with plan_of(source, book, tmp_path, batch=500) as plan:
        await next_chunk(plan)
        with sqlite3.connect(tmp_path / "job.sqlite") as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        other.close()
        file = tmp_path / "job.sqlite"
        file.write_bytes(file.read_bytes()[:100] + b"x" * (file.stat().st_size - 100))
        with pytest.raises(DeploymentError, match="damaged"):
            await all_chunks(plan)
        assert not file.exists()


@pytest.mark.parametrize("lost", [False, True], ids=["table kept", "table lost"])
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
    changed: list[str], lost: bool, book: Book, tmp_path: Path
) -> None:
    async with plan_of(inline(*map(did, range(1, 5))), book, tmp_path, batch=2) as plan:
        first = await next_chunk(plan)
    if lost:
        shutil.rmtree(tmp_path)
    async with plan_of(inline(*changed), book, tmp_path, first.checkpoint, batch=2) as plan:
        chunk = await next_chunk(plan)
    assert chunk.tasks == []
    assert "changed while its job was being planned" in (chunk.failure or "")
    assert chunk.checkpoint.finished
    assert (chunk.checkpoint.cursor, chunk.checkpoint.planned) == (first.checkpoint.cursor, 2)


async def test_a_chunk_ends_when_its_time_is_up_and_always_moves_on(book: Book, tmp_path: Path) -> None:
    seconds = 0.0

    def clock() -> float:
        nonlocal seconds
        seconds += 2.0
        return seconds

    async with plan_of(inline(*map(did, range(9)), page=1), book, tmp_path, monotonic=clock) as plan:
        chunks = await all_chunks(plan)
    assert dids(chunks) == [did(n) for n in range(9)]
    assert 3 <= len(chunks) <= 9


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


class Breaking(ListedAccounts):
    """A source whose disk breaks after a few entries."""

    def __init__(self, error: Exception) -> None:
        super().__init__(1)
        self._error = error

    @property
    def name(self) -> str:
        return "broken disk"

    def _entries(self) -> Generator[str | None, None, None]:
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
    async with plan_of(FileAccounts(FileSource(type="file", path=str(empty))), book, tmp_path) as plan:
        chunk = await next_chunk(plan)
    assert "holds no accounts" in (chunk.failure or "")
    assert (chunk.checkpoint.planned, chunk.checkpoint.finished) == (0, True)


async def test_many_accounts_stay_out_of_memory(book: Book, tmp_path: Path) -> None:
    """The table of accounts met lives on disk, in one file a job."""
    book.knows_all = True
    entries = tmp_path / "many.txt"
    entries.write_text("".join(f"did:plc:{n}\n" for n in range(30_000)) * 2)
    folder = tmp_path / "seen"
    source = FileAccounts(FileSource(type="file", path=str(entries)))
    async with plan_of(source, book, folder, batch=50_000) as plan:
        chunks = await all_chunks(plan)
        assert "job.sqlite" in os.listdir(folder)
    assert os.listdir(folder) == ["job.sqlite"]
    assert chunks[-1].checkpoint.planned == 30_000
    assert chunks[-1].checkpoint.duplicates == 30_000


async def test_a_folder_that_can_not_be_written_is_named(book: Book, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeploymentError, match="SKYFILL_DATA_DIR"):
        async with plan_of(inline(did(1)), book, tmp_path / "file" / "below"):
            pass


class Rows(AccountSource):
    """Pages as a list of hosts would give them; they can't be had again."""

    def __init__(self, *pages: list[Entry], left_out: dict[str, int] | None = None) -> None:
        super().__init__(10)
        self._rows, self._left_out = pages, left_out or {}

    @property
    def name(self) -> str:
        return "rows"

    async def _pages(self, after: str | None) -> AsyncGenerator[Page, None]:
        for number in range(int(after or 0), len(self._rows)):
            yield Page(self._rows[number], str(number + 1), self._left_out, [f"note {number}"])


def home(number: int, book: Book) -> str:
    return book.identity(did(number)).pds


def statuses(chunks: list[Chunk]) -> dict[str, tuple[str, str | None]]:
    return {o.did: (o.status, o.reason) for chunk in chunks for o in chunk.outcomes}


async def test_a_row_counts_only_where_the_account_lives(book: Book, tmp_path: Path) -> None:
    """Listed by three hosts, the right one last; by the right one twice; by a wrong one only."""
    right, wrong = home(1, book), "https://elsewhere.example"
    rows = Rows(
        [Entry(did(1), wrong), Entry(did(2), home(2, book), rev="3lrev")],
        [Entry(did(1), "https://third.example"), Entry(did(3), wrong)],
        [Entry(did(1), right), Entry(did(1), right), Entry(did(2), home(2, book))],
        left_out={"malformed_row": 1},
    )
    for batch in (10, 100):
        async with plan_of(rows, book, tmp_path / str(batch), batch=batch) as plan:
            chunks = await all_chunks(plan)
        assert sorted(dids(chunks)) == sorted([did(1), did(2)])
        assert {t.did: t.rev for c in chunks for t in c.tasks} == {did(1): None, did(2): "3lrev"}
        last = chunks[-1].checkpoint
        assert last.left_out == {"moved": 3, "malformed_row": 3}
        assert (last.planned, last.duplicates) == (2, 2)
        assert [note for chunk in chunks for note in chunk.notes] == ["note 0", "note 1", "note 2"]


async def test_inactive_rows_are_unavailable_unless_the_account_has_moved(book: Book, tmp_path: Path) -> None:
    book.answers[did(5)] = IdentityTombstoned("deleted")
    rows = Rows(
        [
            Entry(did(1), home(1, book), gone="RepoTakendown"),
            Entry(did(2), "https://left.example", gone="RepoDeactivated"),
            Entry(did(3), gone="RepoSuspended"),
            Entry(did(5), "https://left.example", gone="RepoDeactivated"),
        ],
        [Entry(did(2), home(2, book)), Entry(did(3))],
    )
    async with plan_of(rows, book, tmp_path) as plan:
        chunks = await all_chunks(plan)
    assert dids(chunks) == [did(2)]
    assert statuses(chunks) == {
        did(1): ("unavailable", "RepoTakendown"),
        did(3): ("unavailable", "RepoSuspended"),
        did(5): ("unavailable", "IdentityTombstoned"),
    }
    last = chunks[-1].checkpoint
    assert (last.left_out, last.planned, last.duplicates) == ({"moved": 1}, 4, 1)
    assert did(3) not in book.asked


async def test_what_can_not_be_had_again_goes_on_with_a_word_about_it(book: Book, tmp_path: Path) -> None:
    rows = Rows([Entry(did(1))], [Entry(did(2)), Entry(did(1))])
    async with plan_of(rows, book, tmp_path / "a", batch=1) as plan:
        first = await next_chunk(plan)
    async with plan_of(rows, book, tmp_path / "a", first.checkpoint, batch=1) as plan:
        rest = await all_chunks(plan)
    assert dids(rest) == [did(2)]
    async with plan_of(rows, book, tmp_path / "b", first.checkpoint, batch=1) as plan:
        rest = await all_chunks(plan)
    assert dids(rest) == [did(2), did(1)]
    assert "an account that it names again gets a second task" in rest[0].notes[0]


async def test_accounts_out_of_scope_are_skipped_before_or_after_they_are_resolved(
    book: Book, tmp_path: Path
) -> None:
    book.answers["alice.example"] = Identity(did(7), "alice.example", "https://pds.deny.example", KEY)
    book.answers[did(8)] = Identity(did(8), None, "https://pds.deny.example:8443", KEY)
    scope = {"deny": {"dids": [did(1)], "domains": ["deny.example"]}}
    entries = [did(1), did(2), "alice.example", did(8), did(1), did(7)]
    async with plan_of(inline(*entries), book, tmp_path, scope=scope) as plan:
        chunks = await all_chunks(plan)
    assert dids(chunks) == [did(2)]
    skipped = ("skipped", "scope_violation")
    assert statuses(chunks) == {did(1): skipped, did(7): skipped, did(8): skipped}
    assert {o.error_type for chunk in chunks for o in chunk.outcomes} == {"scope_violation"}
    assert did(1) not in book.asked
    assert (chunks[-1].checkpoint.planned, chunks[-1].checkpoint.duplicates) == (4, 2)


async def test_an_allow_list_of_hosts_lets_nobody_else_in(book: Book, tmp_path: Path) -> None:
    allowed = home(1, book)
    scope = {"allow": {"hosts": [allowed.removeprefix("https://")], "dids": [did(2)]}}
    numbers = range(1, 10)
    rows = Rows([Entry(did(number), gone="RepoTakendown" if number == 5 else None) for number in numbers])
    async with plan_of(rows, book, tmp_path, scope=scope) as plan:
        chunks = await all_chunks(plan)
    inside = [n for n in numbers if n == 2 or home(n, book) == allowed]
    assert sorted(dids(chunks)) == sorted(did(n) for n in inside if n != 5)
    outside = {name for name, (status, _) in statuses(chunks).items() if status == "skipped"}
    assert outside == {did(n) for n in numbers if n not in inside}
