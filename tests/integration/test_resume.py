"""The same document run again: with its broker, after the broker's data was lost, and once more on purpose.

What a user can rely on: each broker's life stores every record once and says so in its files' names, which
begin with its topic's id; nothing that is in the folder is ever changed; a table holds every record once.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow.dataset as ds
import pytest

from local.compare import compare, dynamodb_records, parquet_records, records_of
from local.network.network import Network
from local.one_shot import OneShot, Result, job_id_of
from schemas.backfill import Backfill
from schemas.document import parse_document
from schemas.settings import Settings
from sinks.reports import ACCOUNTS, SUMMARY, report_of
from tests.integration.rig import environment, settings_for


@dataclass
class Folder:
    """One document, its folder of Parquet files and its table."""

    network: Network
    settings: Settings
    backfill: Backfill
    out: Path
    table: str

    async def run(self, *, again: bool = False) -> Result:
        """What `skyfill run` does."""
        return await OneShot(
            self.settings, self.backfill, workers=1, local_dynamodb="memory", again=again
        ).run()

    def files(self) -> dict[Path, bytes]:
        """The Parquet files as they lie there, hidden ones included."""
        return {path: path.read_bytes() for path in self.out.iterdir() if path.is_file()}

    def lives(self) -> dict[str, list[Path]]:
        """The files of each topic id."""
        found = defaultdict(list)
        for path in self.files():
            found[path.name.partition("-")[0]].append(path)
        return found

    def assert_each_life_is_whole(self) -> None:
        """Every record once for each topic id that the folder knows."""
        for topic_id, files in self.lives().items():
            lone = self.settings.data_dir / topic_id
            lone.mkdir(parents=True)
            for file in files:
                shutil.copy(file, lone)
            stored = compare(topic_id, records_of(self.network.truth()), parquet_records(lone))
            assert stored.exact, stored
            shutil.rmtree(lone)

    def assert_table_is_exact(self) -> None:
        items = dynamodb_records(self.settings.dynamodb, self.table)
        stored = compare("DynamoDB", records_of(self.network.truth()), items)
        assert stored.exact, stored


@pytest.fixture
async def folder(
    dynamodb: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Folder]:
    """A document that no broker has seen; what runs it embeds a broker of its own."""
    async with Network(seed=6, accounts=12, hosts=2, records=25) as network:
        settings = settings_for("", dynamodb, prefix, network.plc_url, tmp_path / "data")
        monkeypatch.delenv("SKYFILL_KAFKA__BOOTSTRAP_SERVERS", raising=False)
        for name, value in environment(settings).items():
            if name != "SKYFILL_KAFKA__BOOTSTRAP_SERVERS":
                monkeypatch.setenv(name, value)
        table = f"{prefix}resumed"
        backfill = parse_document(
            {
                "source": {"type": "inline", "dids": list(network.dids)},
                "processing": {"requests_per_second": 50},
                "storage": [
                    {"type": "parquet", "path": str(tmp_path / "out")},
                    {"type": "dynamodb", "table_name": table},
                ],
            }
        ).absolute(tmp_path)
        yield Folder(network, settings, backfill, tmp_path / "out", table)


@pytest.mark.timeout(300)
async def test_run_again_it_finds_its_end_and_after_the_brokers_data_was_deleted_it_runs_beside_it(
    folder: Folder,
) -> None:
    first = await folder.run()
    assert (first.status.status, first.found_final, first.restarts) == ("complete", False, 0)
    before, asked = folder.files(), folder.network.ledger.count()
    folder.assert_each_life_is_whole()
    folder.assert_table_is_exact()
    items = sorted(dynamodb_records(folder.settings.dynamodb, folder.table))

    # The same `run` twice: it had ended, so nothing is asked, and nothing written.
    second = await folder.run()
    assert (second.found_final, second.status) == (True, first.status)
    assert folder.files() == before
    assert folder.network.ledger.count() == asked
    assert sorted(dynamodb_records(folder.settings.dynamodb, folder.table)) == items

    # The broker's data is deleted and the folder kept: nothing is known of the job, so it runs once more.
    report = report_of(folder.out, first.job_id)
    first_report = (report / SUMMARY).read_bytes()
    shutil.rmtree(folder.settings.data_dir)
    third = await folder.run()
    assert (third.job_id, third.found_final, third.resumed) == (first.job_id, False, False)
    assert third.status.totals == first.status.totals
    after = folder.files()
    assert {path: after[path] for path in before} == before, "what another broker's life left is not touched"
    assert len(folder.lives()) == 2
    folder.assert_each_life_is_whole()
    folder.assert_table_is_exact()
    ended = [orjson.loads(text)["finished_at"] for text in (first_report, (report / SUMMARY).read_bytes())]
    assert ended[0] < ended[1], "the report is of the job's new life"
    assert (folder.out / "_skyfill" / ACCOUNTS).read_bytes() == (report / ACCOUNTS).read_bytes()

    # On purpose once more: another job of the same broker, whose rows say so.
    fourth = await folder.run(again=True)
    assert fourth.job_id == f"{job_id_of(folder.backfill)}-2"
    again = folder.files()
    assert {path: again[path] for path in after} == after
    assert len(folder.lives()) == 2
    jobs = Counter(
        ds.dataset([str(path) for path in again]).to_table(columns=["job_id"])["job_id"].to_pylist()
    )
    records = first.status.totals.records
    assert jobs == {first.job_id: 2 * records, fourth.job_id: records}
    folder.assert_table_is_exact()
