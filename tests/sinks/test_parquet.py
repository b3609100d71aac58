"""The Parquet sink against a real broker and real files."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from messaging.topics import topic_id
from schemas.backfill import Backfill
from schemas.settings import Settings, SinkSettings
from sinks import arrow_rows
from sinks.parquet import ParquetSink, run_parquet_sink
from sinks.rows import Row
from sinks.tenure import Tenure
from tests.sinks.contract import SinkContract
from tests.sinks.deployment import CID, REV, Deployment, Sent, accounts, wait_until


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


class TestParquetSink(SinkContract):
    kind = "parquet"
    store = "sinks.chain:Chain._link", "sinks.chain:Chain._link"
    add = "sinks.parquet:ParquetSink.add"

    @pytest.fixture(autouse=True)
    def _place(self, kafka: str, prefix: str, tmp_path: Path) -> None:
        self.kafka, self.prefix, self.folder = kafka, prefix, tmp_path
        self.deployment = Deployment(kafka, prefix)

    @staticmethod
    def run(settings: Settings, stop: threading.Event) -> None:
        run_parquet_sink(settings, stop)

    def storage(self, name: str) -> dict[str, Any]:
        return {"type": "parquet", "path": str(self.folder / name)}

    def stored(self, name: str) -> list[Sent]:
        rows = rows_of(self.folder / name)
        return [Sent(row["did"], f"{row['collection']}/{row['rkey']}", row["rev"]) for row in rows]

    def unhurried(self) -> Deployment:
        return Deployment(self.kafka, self.prefix, flush_seconds=3600)

    def test_pyarrow_and_duckdb_read_the_files_as_they_are(self) -> None:
        records: list[dict[str, Any]] = [
            {"text": "ä\u0000\n", "createdAt": "2024-02-03T04:05:06.123456789+01:00"},
            {"createdAt": "yesterday", "big": 2**63},
            {"createdAt": 5},
            {},
        ]
        self.deployment.start_job("j", self.storage("one"))
        for did, record in zip(accounts(4), records, strict=True):
            self.deployment.send("j", [did], 1, record=record or {"$type": "x"})
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
        files = str(self.folder / "one" / "*.parquet")
        with duckdb.connect() as database:
            found = database.execute(
                f"SELECT created_at::VARCHAR, record, did, uri, cid, rev, operation, proof, job_id "
                f"FROM '{files}' ORDER BY did"
            ).fetchall()
            database.execute("SET TimeZone = 'UTC'")
            moments = database.execute(f"SELECT created_at::VARCHAR FROM '{files}' ORDER BY did").fetchall()
        assert [moment for (moment,) in moments] == ["2024-02-03 03:05:06.123456+00", None, None, None]
        assert found[1][1:] == (
            '{"createdAt":"yesterday","big":9223372036854775808}',
            "did:plc:a00001",
            "at://did:plc:a00001/app.bsky.feed.post/0000000000000",
            CID,
            REV,
            "create",
            "commit",
            "j",
        )
        assert found[0][1] == r'{"text":"ä\u0000\n","createdAt":"2024-02-03T04:05:06.123456789+01:00"}'
        table = pq.read_table(self.folder / "one")
        assert table.schema.names == arrow_rows.SCHEMA.names
        assert table.schema.types == arrow_rows.SCHEMA.types
        first = next(row for row in table.to_pylist() if row["did"] == "did:plc:a00000")
        assert first["created_at"] == datetime(2024, 2, 3, 3, 5, 6, 123456, UTC)
        assert abs((first["fetched_at"] - datetime.now(UTC)).total_seconds()) < 600
        assert first["partition"] == self.deployment.partition("did:plc:a00000")

    def test_a_topic_made_anew_begins_a_chain_of_its_own(self) -> None:
        self.deployment.start_job("j", self.storage("one"))
        sent = self.deployment.send("j", accounts(5), 4)
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
        old = {path: path.read_bytes() for path in (self.folder / "one").iterdir()}
        self.deployment = Deployment(self.kafka, f"{self.prefix}again.")
        self.deployment.start_job("j", self.storage("one"))
        sent += self.deployment.send("j", accounts(5), 4)
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
        self.assert_stored("one", sent)
        assert {path: path.read_bytes() for path in old} == old
        new = [path for path in (self.folder / "one").iterdir() if path not in old]
        identity = topic_id(self.deployment.admin, self.deployment.names.records)
        assert new
        assert all(path.name.startswith(identity) for path in new)

    def test_files_moved_away_are_not_written_again(
        self, start: Callable[..., subprocess.Popen[bytes]]
    ) -> None:
        # One row for `two` holds back the committed offset, while `one` fills files beyond it.
        self.deployment = Deployment(self.kafka, self.prefix, flush_seconds=3600, flush_rows=10)
        self.deployment.start_job("j1", self.storage("one"))
        self.deployment.start_job("j2", self.storage("two"))
        two = self.deployment.send("j2", accounts(1), 1)
        one = self.deployment.send("j1", accounts(1), 25)
        first = start()
        wait_until(lambda: any(self.deployment.metadata(self.kind)))
        first.kill()
        moved = self.folder / "elsewhere"
        moved.mkdir()
        for file in (self.folder / "one").glob("*.parquet"):
            file.rename(moved / file.name)
        assert len(rows_of(moved)) == 20
        self.deployment = Deployment(self.kafka, self.prefix)
        with self.deployment.running(self.run) as alive:
            self.deployment.drain(self.kind, alive)
        assert len(rows_of(self.folder / "one")) == 5
        for file in moved.iterdir():
            file.rename(self.folder / "one" / file.name)
        self.assert_stored("one", one)
        self.assert_stored("two", two)


def row(offset: int, partition: int = 0, size: int = 100) -> Row:
    return Row(
        "did:plc:a", "a.b.c", "k", CID, REV, "create", None, "{}", "commit", "j", 5, partition, offset, size
    )


def sink_of(clock: Callable[[], float] = lambda: 0.0, **settings: Any) -> ParquetSink:
    limits = SinkSettings.model_validate(settings)
    return ParquetSink(limits, "cluster", "0" * 32, Tenure(3600), clock=clock)


def test_no_file_has_more_rows_or_bytes_than_set(tmp_path: Path) -> None:
    by_rows, by_bytes = str(tmp_path / "rows"), str(tmp_path / "bytes")
    sink = sink_of(flush_rows=7)
    for offset in range(20):
        sink.add(by_rows, row(offset))
    assert sink.unstored(0) == {by_rows: 14}
    sink = sink_of(flush_bytes=1024)
    for offset in range(20):
        sink.add(by_bytes, row(offset, size=512))
    assert sink.unstored(0) == {}
    assert [pq.read_metadata(file).num_rows for file in sorted(Path(by_rows).iterdir())] == [7, 7]
    assert [pq.read_metadata(file).num_rows for file in sorted(Path(by_bytes).iterdir())] == [2] * 10


def test_what_is_buffered_over_all_files_is_bounded(tmp_path: Path) -> None:
    sink = sink_of(buffer_bytes=2**20)
    folders = [str(tmp_path / name) for name in "abc"]
    for offset in range(0, 300, 3):
        for i, folder in enumerate(folders):
            sink.add(folder, row(offset + i, size=10_000 * (i + 1)))
    held = sum(
        10_000 * (i + 1) * len(range(sink.unstored(0).get(f, 300), 300, 3)) for i, f in enumerate(folders)
    )
    assert held < 2**20
    sink.flush([0])
    assert sum(len(rows_of(Path(folder))) for folder in folders) == 300


def test_rows_are_stored_when_they_are_old_enough(tmp_path: Path) -> None:
    now = [0.0]
    sink = sink_of(lambda: now[0], flush_seconds=30)
    sink.add(str(tmp_path), row(1))
    now[0] = 29
    sink.flush_due()
    assert sink.unstored(0) == {str(tmp_path): 1}
    now[0] = 30
    sink.flush_due()
    assert sink.unstored(0) == {}


def test_what_is_forgotten_is_neither_stored_nor_counted(tmp_path: Path) -> None:
    sink = sink_of()
    for partition in (0, 1):
        sink.add(str(tmp_path), row(1, partition))
    sink.forget([0])
    sink.flush([0, 1])
    assert [r["partition"] for r in rows_of(tmp_path)] == [1]


def test_two_spellings_of_a_folder_are_one_destination(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    paths = [f"{tmp_path}/real", f"{tmp_path}/real/", f"{tmp_path}/x/../real", f"{tmp_path}/link"]
    document = {"source": {"type": "inline", "dids": ["x"]}}
    backfill = Backfill.model_validate(
        document | {"storage": [{"type": "parquet", "path": path} for path in paths]}
    )
    assert sink_of().destinations(backfill) == (str(tmp_path.resolve() / "real"),)
