"""What a sink commits: the first row that a destination lacks, and how far the others are."""

from __future__ import annotations

import orjson

from sinks.progress import DEAD_LETTERS, Progress


def test_with_nothing_buffered_the_position_is_committed() -> None:
    progress = Progress(10)
    progress.took("a", 12)
    progress.reached(20)
    assert progress.point({}) == (20, "")


def test_the_least_destination_decides_and_the_others_are_remembered() -> None:
    progress = Progress(10)
    for destination, offset in [("a", 10), ("b", 11), ("a", 12), ("c", 13)]:
        progress.took(destination, offset)
    progress.reached(20)
    offset, metadata = progress.point({"b": 11})
    assert offset == 11
    again = Progress(offset, metadata)
    assert [again.wants("a", o) for o in (12, 13)] == [False, True]
    assert [again.wants("b", o) for o in (11, 12)] == [True, True]
    assert [again.wants("c", o) for o in (13, 14)] == [False, True]
    assert again.wants("never seen", 11)


def test_of_two_that_lack_rows_the_one_further_back_decides() -> None:
    progress = Progress(10)
    progress.took("a", 19)
    progress.took("b", 19)
    progress.reached(20)
    offset, metadata = progress.point({"a": 15, "b": 12})
    assert offset == 12
    again = Progress(offset, metadata)
    assert [again.wants("a", o) for o in (14, 15)] == [False, True]
    assert again.wants("b", 12)


def test_what_was_restored_survives_until_the_commit_has_passed_it() -> None:
    progress = Progress(10)
    progress.took("a", 30)
    progress.reached(31)
    second = Progress(*progress.point({"b": 12}))
    second.took("b", 12)
    second.reached(13)
    point = second.point({"b": 12})
    second.committed(point)
    assert not second.changed(point)
    assert not Progress(*point).wants("a", 30)
    second.reached(40)
    assert second.point({}) == (40, "")


def test_metadata_that_would_not_fit_keeps_dead_letters_and_the_farthest() -> None:
    progress = Progress(0)
    progress.took(DEAD_LETTERS, 3)
    for i in range(1000):
        progress.took(f"destination {i}", 10 + i)
    progress.reached(2000)
    offset, metadata = progress.point({"slow": 1})
    assert offset == 1
    assert len(metadata) <= 4000
    assert 150 < len(orjson.loads(metadata)) < 400
    again = Progress(offset, metadata)
    assert not again.wants(DEAD_LETTERS, 3)
    assert not again.wants("destination 999", 1009)
    assert again.wants("destination 0", 10)
