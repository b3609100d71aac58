"""The points of the sinks: around a file's publication, among the batches of a block, before a commit."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from schemas.deadletter import DeadLetter
from sinks.commits import Commits
from tests.chaos.plan import Point
from tests.chaos.victim import Victim, put_in_place


class Stored:
    """Rows that are stored and whose offsets are not committed."""

    def __init__(self) -> None:
        self.rows = 0


def arm_sink(victim: Victim) -> None:
    """Puts all points around the code of this kind of sink."""
    stored = Stored()
    parquet = victim.kind == "sink-parquet"
    _arm_commits(victim, stored, Point.AFTER_PUBLICATION if parquet else Point.AFTER_BLOCK)
    (_arm_chain if parquet else _arm_writer)(victim, stored)


def _arm_commits(victim: Victim, stored: Stored, point: Point) -> None:
    commit = Commits.commit

    def armed(
        commits: Commits,
        consumer: Consumer,
        offsets: Sequence[TopicPartition],
        letters: Sequence[DeadLetter],
    ) -> bool:
        def really() -> bool:
            return commit(commits, consumer, offsets, letters)

        if not stored.rows:
            return really()
        open_ = {"rows stored": stored.rows, "partitions' offsets": len(offsets)}
        victim.reach(point, lambda: open_, lambda: None)
        done = victim.commit(lambda: open_, really)
        if done:
            stored.rows = 0
            victim.committed()
        return done

    put_in_place(Commits, "commit", armed)


def _arm_chain(victim: Victim, stored: Stored) -> None:
    from sinks.chain import Chain

    publish_file, link = Chain._publish_file, Chain._link
    drafted = 0

    def watched(chain: Chain, rows: Any) -> bool:
        nonlocal drafted
        drafted = rows.num_rows
        published = publish_file(chain, rows)
        stored.rows += drafted if published else 0
        return published

    def armed(chain: Chain, draft: Path, target: Path) -> bool:
        victim.reach(Point.BEFORE_PUBLICATION, lambda: {"rows in the draft": drafted}, lambda: None)
        return link(chain, draft, target)

    put_in_place(Chain, "_publish_file", watched)
    put_in_place(Chain, "_link", armed)


def _arm_writer(victim: Victim, stored: Stored) -> None:
    from sinks.table_writer import TableWriter, Write

    write, insert, put_each = TableWriter.write, TableWriter._insert, TableWriter._put_each
    lock, within = threading.Lock(), threading.local()
    block = acknowledged = 0

    def watched(writer: TableWriter, writes: Sequence[Write]) -> None:
        nonlocal block, acknowledged
        block, acknowledged = len(writes), 0
        write(writer, writes)
        stored.rows += len(writes)

    def armed(put: Any) -> Any:
        def put_armed(writer: TableWriter, writes: Sequence[Write]) -> None:
            nonlocal acknowledged
            if getattr(within, "a_batch", False):
                put(writer, writes)  # what a batch found there, which counts with the batch
                return
            if acknowledged:
                victim.reach(
                    Point.BETWEEN_BATCHES,
                    lambda: {"items acknowledged": acknowledged, "items of the block": block},
                    lambda: None,
                )
            within.a_batch = True
            try:
                put(writer, writes)
            finally:
                within.a_batch = False
            with lock:
                acknowledged += len(writes)

        return put_armed

    put_in_place(TableWriter, "write", watched)
    put_in_place(TableWriter, "_insert", armed(insert))
    put_in_place(TableWriter, "_put_each", armed(put_each))
