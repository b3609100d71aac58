"""Whatever the order of endings, the holes and the crashes: each task is handed out until its end is
committed, and never again after that."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from messaging.window import LIMIT, OffsetWindow

METADATA_BYTES = 4096
"""What a broker takes unless it is told otherwise (offset.metadata.max.bytes)."""
BATCH = 500


class OnePartition(RuleBasedStateMachine):
    """A partition's log with holes, its owner's window, and what the broker knows of it."""

    @initialize(first=st.integers(0, 2**40))
    def begin(self, first: int) -> None:
        """The log begins anywhere: older messages were trimmed."""
        self.end = first
        self.tasks: set[int] = set()
        self.stored: tuple[int, str] = (first, "")
        self.done_for_good: set[int] = set()
        self.crash()

    def crash(self) -> None:
        self.window = OffsetWindow(*self.stored)
        self.position = self.stored[0]
        self.open: list[int] = []
        self.finished: set[int] = set()

    @rule(kinds=st.lists(st.booleans(), min_size=1, max_size=30))
    def write(self, kinds: list[bool]) -> None:
        """Tasks, and offsets that never bring a message."""
        for is_task in kinds:
            if is_task:
                self.tasks.add(self.end)
            self.end += 1

    @rule(count=st.integers(1, 30), to_the_end=st.booleans())
    def read(self, count: int, to_the_end: bool) -> None:
        """Messages come in order; at the partition's end the consumer says so."""
        for offset in [t for t in sorted(self.tasks) if t >= self.position][:count]:
            todo = self.window.deliver(offset)
            assert todo == (offset not in self.done_for_good), offset
            if todo:
                self.open.append(offset)
            self.position = offset + 1
        if to_the_end and not any(t >= self.position for t in self.tasks):
            self.window.reached(self.end)
            self.position = self.end

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.open))
        self.window.finish(offset)
        self.open.remove(offset)
        self.finished.add(offset)

    @rule()
    def commit(self) -> None:
        self.stored = (self.window.committed, self.window.metadata())
        self.window.mark_committed()
        assert not self.window.changed
        self.done_for_good |= self.finished
        self.finished.clear()

    @rule()
    def crash_and_restore(self) -> None:
        """All that was not committed is forgotten, in the window and in what it published."""
        self.crash()

    @precondition(lambda self: self.position > self.stored[0])
    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        """A fetch may begin again below the position, say after a pause."""
        assert not self.window.deliver(data.draw(st.integers(self.stored[0], self.position - 1)))

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def finish_what_is_not_in_flight(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.tasks)))
        if offset not in self.open:
            with pytest.raises(KeyError):
                self.window.finish(offset)

    @invariant()
    def nothing_unfinished_is_below_the_commit(self) -> None:
        unfinished = self.tasks - self.done_for_good - self.finished
        assert all(self.window.committed <= offset for offset in unfinished)
        assert self.window.committed == min(self.open, default=self.position)

    @invariant()
    def figures_agree(self) -> None:
        assert self.window.in_flight == len(self.open)
        assert self.window.span == self.position - min(self.open, default=self.position)
        assert self.window.changed or self.window.committed == self.stored[0]
        assert self.window.changed or not self.finished

    def teardown(self) -> None:
        """From any state, reading on and finishing ends with everything committed, and no bitmap."""
        if not hasattr(self, "end"):
            return
        self.read(len(self.tasks), to_the_end=True)
        for offset in list(self.open):
            self.window.finish(offset)
            self.open.remove(offset)
            self.finished.add(offset)
        self.commit()
        assert self.stored == (self.end, "")
        assert self.done_for_good == self.tasks


TestOnePartition = OnePartition.TestCase
TestOnePartition.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_only_what_is_new_asks_for_a_commit() -> None:
    window = OffsetWindow(10)
    assert not window.changed
    assert window.deliver(10)
    assert window.deliver(11)
    assert not window.changed
    window.finish(11)
    assert window.changed
    assert (window.committed, window.span, window.in_flight) == (10, 2, 1)
    window.mark_committed()
    window.reached(12)
    assert not window.changed
    window.reached(13)
    assert window.changed


def test_a_gap_between_two_messages_counts_as_finished() -> None:
    window = OffsetWindow(0)
    assert window.deliver(3)
    assert window.committed == 3
    assert window.deliver(7)
    window.finish(3)
    assert window.committed == 7
    restored = OffsetWindow(7, window.metadata())
    assert restored.deliver(7)


@pytest.mark.parametrize("share_finished", [0.01, 0.25, 0.5, 0.75, 0.99])
def test_a_full_window_fits_an_offsets_metadata(share_finished: float) -> None:
    """At the limit, with the batch that was on its way, finished in the order that packs worst."""
    chance = random.Random(share_finished)
    window = OffsetWindow(5)
    for offset in range(5, 5 + LIMIT + BATCH):
        assert window.deliver(offset)
    unfinished = {5}
    for offset in range(6, 5 + LIMIT + BATCH):
        if chance.random() < share_finished:
            window.finish(offset)
        else:
            unfinished.add(offset)
    metadata = window.metadata()
    assert len(metadata.encode()) <= METADATA_BYTES
    restored = OffsetWindow(window.committed, metadata)
    again = {offset for offset in range(5, 5 + LIMIT + BATCH) if restored.deliver(offset)}
    assert again == unfinished


def test_a_full_window_with_a_long_hole_fits_too() -> None:
    """A chunk of a million messages was aborted while the oldest task was still unfinished."""
    chance = random.Random(1)
    window, hole = OffsetWindow(0), 1_000_000
    offsets = [*range(LIMIT - 1), *range(LIMIT + hole, LIMIT + hole + BATCH)]
    for offset in offsets:
        assert window.deliver(offset)
    unfinished = {0} | {offset for offset in offsets[1:] if chance.random() < 0.5}
    for offset in offsets:
        if offset not in unfinished:
            window.finish(offset)
    metadata = window.metadata()
    assert len(metadata.encode()) <= METADATA_BYTES
    restored = OffsetWindow(0, metadata)
    assert {offset for offset in offsets if restored.deliver(offset)} == unfinished


def test_crash_after_crash_a_full_window_stays_within_the_limit() -> None:
    """A successor that has not read as far as its predecessor carries the rest of its bitmap along."""
    chance = random.Random(2)
    end = 3 * LIMIT
    stored, done = (0, ""), set[int]()
    while stored[0] < end:
        window = OffsetWindow(*stored)
        offset, reach = stored[0], chance.choice([LIMIT // 10, LIMIT, 2 * LIMIT])
        opened: list[int] = []
        while offset < min(end, stored[0] + reach) and window.span < LIMIT:
            batch = range(offset, min(end, offset + BATCH))
            for one in batch:
                assert window.deliver(one) == (one not in done)
            opened += [one for one in batch if one not in done]
            offset = batch.stop
            for one in chance.sample(opened, len(opened) // 2 if len(opened) > 5 else len(opened)):
                if one != opened[0] or chance.random() < 0.2:
                    window.finish(one)
                    opened.remove(one)
                    done.add(one)
        stored = (window.committed, window.metadata())
        assert len(stored[1].encode()) <= METADATA_BYTES
    assert stored == (end, "")


def test_a_window_beyond_the_limit_is_refused_before_the_broker_refuses_it() -> None:
    chance = random.Random(3)
    window = OffsetWindow(0)
    for offset in range(2 * LIMIT):
        assert window.deliver(offset)
    for offset in range(1, 2 * LIMIT):
        if chance.random() < 0.5:
            window.finish(offset)
    with pytest.raises(ValueError, match=f"{2 * LIMIT} offsets does not fit"):
        window.metadata()
