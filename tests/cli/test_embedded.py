"""`skyfill run` with nothing given: an embedded Kafka and DynamoDB Local in the data folder, which a SIGKILL
of the command takes along, and from which the same command goes on.
"""

from __future__ import annotations

import json

import psutil
import pytest

from local.compare import compare, parquet_records, records_of
from tests.cli.command import Served, Skyfill, environment, until


@pytest.mark.timeout(400)
def test_a_killed_run_leaves_nothing_behind_and_goes_on_from_its_folder(
    bare: Skyfill, network: Served
) -> None:
    skyfill = Skyfill(
        bare.folder,
        environment(
            KAFKA__PARTITIONS__DIDS="4",
            KAFKA__PARTITIONS__RECORDS="2",
            KAFKA__PARTITIONS__OUTCOMES="1",
            KAFKA__PARTITIONS__DEADLETTER="1",
            KAFKA__PARTITIONS__REPOS="1",
            KAFKA__SESSION_TIMEOUT_SECONDS="6",
            NETWORK__PLC_URL=network.plc_url,
            NETWORK__ALLOW_PRIVATE_HOSTS="true",
            SINK__FLUSH_SECONDS="1",
        ),
        bare.started,  # ended with the others
    )
    accounts = network.ok(16)
    document = skyfill.document(
        "embedded",
        source={"type": "inline", "dids": [account.did for account in accounts]},
        processing={"requests_per_second": 2},
        storage=[{"type": "parquet", "path": "out"}, {"type": "dynamodb", "table_name": "embedded"}],
    )
    command = ("run", document, "--local-dynamodb", "--workers", 1, "--data", "data", "--json", "run.json")
    running = skyfill.start(*command)
    until(lambda: list((skyfill.folder / "out").rglob("*.parquet")))
    parent = psutil.Process(running.process.pid)
    family = [process for process in parent.children(recursive=True) if process.pid != parent.pid]
    assert len(family) >= 7  # two servers, producer, worker, tracker and two sinks
    running.process.kill()
    assert running.wait().code == -9
    _, alive = psutil.wait_procs(family, timeout=20)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []

    ended = skyfill.run(*command)
    assert ended.code == 0, ended
    summary = json.loads((skyfill.folder / "run.json").read_text())
    assert (summary["resumed"], summary["status"]["status"]) == (True, "complete")
    expected = list(records_of(accounts))
    assert summary["status"]["totals"]["records"] == len(expected)
    stored = compare("Parquet", expected, parquet_records(skyfill.folder / "out"))
    assert stored.exact, stored
    # Readable lines and nothing else: no library complains into a user's terminal.
    for line in ended.err.splitlines():
        seconds, unit = line.split()[:2]
        assert (float(seconds) >= 0, unit) == (True, "s")
