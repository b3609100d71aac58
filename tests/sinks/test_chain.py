"""The chain of files in a folder: two owners in any interleaving, crashes between any two steps."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.errors import FencedError, SinkError
from sinks import arrow_rows
from sinks.chain import Chain, Stream
from sinks.rows import Row

STREAM = Stream("cluster", "0123456789abcdef0123456789abcdef", 3)


def row(offset: int, text: str = "{}") -> Row:
    return Row(
        "did:plc:a", "a.b.c", "k", "bafy", "3l", "create", None, text, "commit", "j", 5, 3, offset, len(text)
    )


def table(*offsets: int) -> pa.Table:
    return pa.Table.from_batches([arrow_rows.batch([row(offset) for offset in offsets])])


def stored(folder: Path) -> list[int]:
    files = sorted(folder.glob("*.parquet"))
    return [offset for file in files for offset in pq.read_table(file)["offset"].to_pylist()]


class Crash(Exception):
    """The process is killed here: nothing of it runs any more."""


class MortalChain(Chain):
    """Dies before or after a step, once the countdown has run out; what it has done stays done."""

    countdown = -1

    def _tick(self) -> None:
        self.countdown -= 1
        if self.countdown == 0:
            raise Crash

    def _write_draft(self, target: Path, rows: pa.Table, last: int) -> Path:
        self._tick()
        draft = super()._write_draft(target, rows, last)
        self._tick()
        return draft

    def _link(self, draft: Path, target: Path) -> bool:
        self._tick()
        linked = super()._link(draft, target)
        self._tick()
        return linked

    def _remove_draft(self, draft: Path) -> None:
        if self.countdown == 0:  # the dead don't tidy up
            return
        self._tick()
        super()._remove_draft(draft)
        self._tick()

    def _sync(self, folder: Path) -> None:
        if self.countdown != 0:
            super()._sync(folder)


class Owner:
    """A sink process as far as the chain is concerned: restarted from the committed offset when it dies."""

    def __init__(self, folder: Path, offsets: list[int], broker: list[int]) -> None:
        self.folder, self.offsets, self.broker = folder, offsets, broker
        self.chain: MortalChain | None = None
        self.buffer: list[int] = []
        self.position = 0

    def read(self, count: int) -> None:
        """Takes up the partition at the committed offset if need be, and reads some rows."""
        if self.chain is None:
            self.chain, self.buffer, self.position = MortalChain(self.folder, STREAM), [], self.broker[0]
        ahead = [offset for offset in self.offsets if offset >= self.position][:count]
        self.buffer += [offset for offset in ahead if offset > self.chain.end]
        self.position = ahead[-1] + 1 if ahead else self.position

    def publish(self, countdown: int, hold: int) -> None:
        """Publishes what it holds and commits: up to `hold`, where another folder still lacks a row, or not
        at all if that is -1, since the partition is another's by now."""
        if self.chain is None or not self.buffer:
            return
        self.chain.countdown = countdown
        try:
            self.chain.publish(table(*self.buffer))
        except (Crash, FencedError):
            self.chain = None
            return
        self.buffer = []
        self.broker[0] = max(self.broker[0], min(self.position, hold))
        if hold < 0:
            self.chain = None  # a refused commit ends the process


class Read(NamedTuple):
    owner: int
    rows: int


class Publish(NamedTuple):
    owner: int
    countdown: int = -1
    hold: int = 10**6


Story = Sequence[Read | Publish]
STORIES = st.lists(
    st.builds(Read, st.integers(0, 1), st.integers(1, 7))
    | st.builds(Publish, st.integers(0, 1), st.integers(-1, 8), st.integers(-1, 61)),
    max_size=25,
)
OFFSETS = st.sets(st.integers(0, 60), min_size=1, max_size=30).map(sorted)


def play(offsets: list[int], story: Story, folder: Path) -> list[int]:
    """What is stored after two owners did all this and a third one, undisturbed, finished the work."""
    broker = [0]
    owners = [Owner(folder, offsets, broker), Owner(folder, offsets, broker)]
    for deed in story:
        if isinstance(deed, Read):
            owners[deed.owner].read(deed.rows)
        else:
            owners[deed.owner].publish(deed.countdown, deed.hold)
    last = Owner(folder, offsets, broker)
    last.read(len(offsets))
    last.publish(-1, 10**6)
    return stored(folder)


COLLISION: Story = [Read(0, 4), Read(1, 2), Publish(1), Publish(0), Read(1, 4), Publish(1)]
HELD_BACK: Story = [Read(0, 4), Publish(0, hold=2), Read(1, 4), Publish(1)]
OVERTAKEN: Story = [Read(0, 4), Read(1, 2), Publish(1), Publish(0)]
"""The other stored less than this one has, and is never heard of again."""
OUTRUN: Story = [Read(0, 2), Read(1, 4), Publish(1), Publish(0), Read(0, 4), Publish(0)]
"""The other stored more than this one has."""


@settings(max_examples=120, deadline=None)
@given(OFFSETS, STORIES)
@example(list(range(8)), COLLISION)
@example(list(range(8)), HELD_BACK)
@example(list(range(8)), OVERTAKEN)
@example(list(range(8)), OUTRUN)
def test_each_row_is_stored_once_whatever_two_owners_do(offsets: list[int], story: Story) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert play(offsets, story, Path(folder)) == offsets
        assert not list(Path(folder).glob(".*"))


def rename_over(chain: Chain, draft: Path, target: Path) -> bool:
    """Publishing without regard to what is there."""
    os.replace(draft, target)
    return True


def drop_all(chain: Chain, path: Path) -> int:
    """Taking a collision to mean that all is stored."""
    return 10**9


def remember_nothing(chain: Chain) -> int:
    """Relying on the committed offset instead of the folder."""
    return -1


@pytest.mark.parametrize(
    ("rule", "broken", "story"),
    [
        ("_link", rename_over, COLLISION),
        ("_last_offset", drop_all, COLLISION),
        ("_find_end", remember_nothing, HELD_BACK),
    ],
)
def test_every_rule_is_needed(
    rule: str,
    broken: Callable[..., object],
    story: Story,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offsets, sound = list(range(8)), tmp_path / "sound"
    assert play(offsets, story, sound) == offsets
    monkeypatch.setattr(Chain, rule, broken)
    assert play(offsets, story, tmp_path / "broken") != offsets


def test_files_of_other_topics_and_partitions_are_not_touched_or_counted(tmp_path: Path) -> None:
    for other in (STREAM._replace(topic_id="f" * 32), STREAM._replace(partition=4)):
        Chain(tmp_path, other).publish(table(100, 101))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    chain = Chain(tmp_path, STREAM)
    assert chain.end == -1
    assert chain.publish(table(5, 9)) == 2
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / f"{STREAM.topic_id}-00003-00000000000000000005.parquet").exists()


def test_the_footer_says_whose_the_file_is_and_where_it_ends(tmp_path: Path) -> None:
    Chain(tmp_path, STREAM).publish(table(5, 9))
    (file,) = tmp_path.glob("*.parquet")
    footer = pq.read_metadata(file).metadata
    assert footer[b"skyfill.cluster_id"] == b"cluster"
    assert footer[b"skyfill.topic_id"] == STREAM.topic_id.encode()
    assert (footer[b"skyfill.partition"], footer[b"skyfill.last_offset"]) == (b"3", b"9")
    assert footer[b"skyfill.layout"] == b"1"


def test_a_broken_file_in_the_chain_stops_the_sink_and_names_it(tmp_path: Path) -> None:
    Chain(tmp_path, STREAM).publish(table(5, 9))
    (file,) = tmp_path.glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(SinkError, match=rf"{file.name} can't be trusted.*Restore it"):
        Chain(tmp_path, STREAM)


def test_a_renamed_file_is_not_believed(tmp_path: Path) -> None:
    Chain(tmp_path, STREAM).publish(table(5, 9))
    (file,) = tmp_path.glob("*.parquet")
    file.rename(tmp_path / file.name.replace("-00003-", "-00004-"))
    with pytest.raises(SinkError, match="belongs to another file"):
        Chain(tmp_path, STREAM._replace(partition=4))


def test_a_parquet_file_of_somebody_else_under_our_name_is_not_believed(tmp_path: Path) -> None:
    pq.write_table(table(1), tmp_path / f"{STREAM.topic_id}-00003-{1:020}.parquet")
    with pytest.raises(SinkError, match="no readable footer"):
        Chain(tmp_path, STREAM)


def test_drafts_of_the_dead_are_swept_but_only_of_this_partition(tmp_path: Path) -> None:
    chain = MortalChain(tmp_path, STREAM)
    other = MortalChain(tmp_path, STREAM._replace(partition=4))
    for dying in (chain, other):
        dying.countdown = 2
        with pytest.raises(Crash):
            dying.publish(table(1))
    assert len(list(tmp_path.glob(".*.draft"))) == 2
    Chain(tmp_path, STREAM)
    (left,) = tmp_path.glob(".*.draft")
    assert "-00004-" in left.name


def test_an_owner_whose_draft_was_swept_ends(tmp_path: Path) -> None:
    class Slow(Chain):
        def _link(self, draft: Path, target: Path) -> bool:
            Chain(tmp_path, STREAM)  # the next owner arrives
            return super()._link(draft, target)

    with pytest.raises(FencedError, match="was swept"):
        Slow(tmp_path, STREAM).publish(table(1))
    assert stored(tmp_path) == []


def test_a_folder_that_can_not_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="can't be written to"):
        Chain(tmp_path / "file" / "folder", STREAM)
