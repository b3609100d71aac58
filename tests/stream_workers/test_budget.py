"""The byte budget: memory is bounded, a download never waits half-way, and nothing is lost on its way."""

from __future__ import annotations

import asyncio
import gc
import mmap
import os
from pathlib import Path

import pytest

from stream_workers.fetch.budget import ByteBudget, Spool

CHUNKS = [bytes([number]) * 10 for number in range(10)]


def filled(budget: ByteBudget, threshold: int, folder: Path, size: int) -> Spool:
    """A download of `size` bytes in chunks of ten."""
    spool = Spool(budget, threshold, folder)
    for number in range(size // 10):
        spool.write(CHUNKS[number % 10])
    return spool


async def waits(budget: ByteBudget) -> bool:
    """Whether a new download would have to wait."""
    waiting = asyncio.ensure_future(budget.room())
    await asyncio.sleep(0)
    free = waiting.done()
    waiting.cancel()
    return not free


def test_a_small_download_stays_in_memory(tmp_path: Path) -> None:
    budget = ByteBudget(1000)
    with filled(budget, 100, tmp_path / "spool", 100) as spool:
        assert not spool.on_disk
        assert spool.size == budget.used == 100
        assert bytes(spool.content()) == b"".join(CHUNKS)
        assert not (tmp_path / "spool").exists()
    assert budget.used == 0


def test_over_the_threshold_it_goes_to_a_file_and_gives_its_memory_back(tmp_path: Path) -> None:
    budget = ByteBudget(1000)
    with filled(budget, 90, tmp_path / "a" / "spool", 100) as spool:
        assert spool.on_disk
        assert budget.used == 0
        assert spool.size == 100
        content = spool.content()
        assert isinstance(content, mmap.mmap)
        assert content[:] == b"".join(CHUNKS)


def test_where_the_budget_is_spent_it_goes_to_a_file_at_any_size(tmp_path: Path) -> None:
    budget = ByteBudget(100)
    first = filled(budget, 1000, tmp_path, 80)
    second = filled(budget, 1000, tmp_path, 50)
    assert not first.on_disk
    assert second.on_disk
    assert budget.used == 80
    assert second.content()[:] == b"".join(CHUNKS[:5])
    second.close()
    first.close()
    assert budget.used == 0


def test_a_file_leaves_nothing_behind(tmp_path: Path) -> None:
    spool = filled(ByteBudget(1000), 50, tmp_path, 100)
    assert os.listdir(tmp_path) == []  # it has no name to begin with: a killed worker leaves none either
    view = memoryview(spool.content())
    spool.close()  # with a view of it still alive
    assert view[:10] == CHUNKS[0]
    view.release()
    gc.collect()


def test_content_may_be_asked_for_twice(tmp_path: Path) -> None:
    with filled(ByteBudget(1000), 50, tmp_path, 100) as spool:
        assert spool.content()[:] == spool.content()[:] == b"".join(CHUNKS)


def test_closing_twice_gives_back_once(tmp_path: Path) -> None:
    budget = ByteBudget(1000)
    other = filled(budget, 1000, tmp_path, 100)
    spool = filled(budget, 1000, tmp_path, 100)
    spool.close()
    spool.close()
    assert budget.used == other.size


async def test_new_downloads_wait_while_the_budget_is_spent(tmp_path: Path) -> None:
    budget = ByteBudget(102)
    first = filled(budget, 1000, tmp_path, 90)
    second = filled(budget, 1000, tmp_path, 10)
    assert not await waits(budget)  # nobody was refused yet
    third = filled(budget, 1000, tmp_path, 10)
    assert third.on_disk
    assert await waits(budget)
    third.close()
    assert await waits(budget)  # it held no memory, so its end changes nothing
    second.write(CHUNKS[0])  # this one turns out larger: what it gives back is next to nothing
    assert second.on_disk
    assert await waits(budget)
    first.close()
    assert not await waits(budget)
    second.close()


async def test_all_that_wait_go_on(tmp_path: Path) -> None:
    budget = ByteBudget(100)
    first = filled(budget, 1000, tmp_path, 100)
    second = filled(budget, 1000, tmp_path, 10)
    waiting = [asyncio.ensure_future(budget.room()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    first.close()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    second.close()


async def test_a_chunk_beyond_the_whole_budget_stops_nobody(tmp_path: Path) -> None:
    budget = ByteBudget(5)
    with filled(budget, 1000, tmp_path, 10) as spool:
        assert spool.on_disk
        assert not await waits(budget)


def test_a_full_disk_is_an_os_error(tmp_path: Path) -> None:
    not_a_folder = tmp_path / "file"
    not_a_folder.write_text("")
    budget = ByteBudget(1000)
    spool = Spool(budget, 15, not_a_folder)
    spool.write(CHUNKS[0])
    with pytest.raises(OSError):
        spool.write(CHUNKS[1])
    spool.close()
    assert budget.used == 0
