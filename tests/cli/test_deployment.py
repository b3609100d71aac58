"""Commands against a deployment: `up` and what one says to it, and the same from single processes."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from cli.up import ways_in
from local.compare import compare, parquet_records, records_of
from schemas.export import TOPIC_MODELS
from tests.cli.command import Served, Skyfill, until


@pytest.fixture
def clients(skyfill: Skyfill) -> Skyfill:
    """Commands in the same folder that know of no broker: they find the one that `up` tells of."""
    env = {name: value for name, value in skyfill.env.items() if not name.startswith("SKYFILL_")}
    return replace(skyfill, env=env)


@pytest.mark.timeout(300)
def test_up_and_all_that_can_be_said_to_it(skyfill: Skyfill, clients: Skyfill, network: Served) -> None:
    accounts = network.ok(6)
    dids = [account.did for account in accounts]
    storage = {"type": "parquet", "path": "out"}
    document = skyfill.document("quick", source={"type": "inline", "dids": dids}, storage=storage)
    slow = skyfill.document(
        "slow",
        source={"type": "inline", "dids": [account.did for account in network.accounts]},
        processing={"requests_per_second": 0.1, "max_concurrent_per_pds": 1},
        storage={"type": "parquet", "path": "slow"},
    )
    up = skyfill.start("up", "--workers", 1)
    until((skyfill.folder / ".skyfill" / "deployment.json").exists)
    until(lambda: "rates of all jobs: http://127.0.0.1:" in read(skyfill, "rates"))
    same_folder = skyfill.start("run", document)
    same_broker = skyfill.start("run", document, "--data", "other")

    job_id = clients.run("start", document).out.strip()
    watched = clients.run("status", job_id, "--watch", "--json")
    assert watched.code == 0, watched
    statuses = [json.loads(line) for line in watched.out.splitlines()]
    assert statuses[-1]["status"] == "complete"
    assert statuses[-1]["totals"]["completed"] == len(dids)

    helping = clients.start("worker")  # finds the broker, and a slot that the others do not have
    assert helping.process.stderr is not None
    while "holds [" not in (line := helping.process.stderr.readline()):
        assert line, "the worker ended without a partition"
    assert helping.end(signal.SIGTERM).code == 0

    assert clients.run("start", slow, "--id", "my-slow-job").out == "my-slow-job\n"
    watching = clients.start("status", "my-slow-job", "--watch", "--json")
    watching.until_status("processing")
    for command, status in (("pause", "paused"), ("resume", "processing"), ("cancel", "cancelled")):
        sent = clients.run(command, "my-slow-job")
        assert (sent.code, sent.out) == (0, f"{command} sent for my-slow-job\n")
        watching.until_status(status)
    assert watching.wait().code == 1
    refused = clients.run("pause", "my-slow-job")
    assert (refused.code, "has ended (cancelled)" in refused.err) == (1, True)
    unknown = clients.run("cancel", "nobody")
    assert (unknown.code, "there is no job nobody" in unknown.err) == (1, True)

    check_the_api(skyfill, job_id)
    listed = clients.run("jobs")
    assert [line.split()[:2] for line in listed.out.splitlines()[1:]] == [
        [job_id, "complete"],
        ["my-slow-job", "cancelled"],
    ]
    assert "another skyfill runs with the data folder" in same_folder.wait().err
    assert "other processes are at work" in (told := same_broker.wait().err)
    assert "skyfill start" in told

    stopped = up.end(signal.SIGTERM)
    assert (stopped.code, stopped.err) == (0, "stopped\n")
    assert "Submit a job with `skyfill start CONFIG`" in stopped.out
    assert "dashboard: http://127.0.0.1:" in stopped.out
    assert f"the first admin token: {skyfill.folder / '.skyfill' / 'api-token'}" in stopped.out
    gone = clients.run("jobs")
    assert (gone.code, "no `skyfill up` runs" in gone.err) == (1, True)
    assert compare("Parquet", records_of(accounts), parquet_records(skyfill.folder / "out")).exact


def test_the_link_that_logs_in_goes_to_a_terminal_and_into_no_log(tmp_path: Path) -> None:
    token = tmp_path / "api-token"
    token.write_text("skf_one_secret\n")
    assert ways_in("http://127.0.0.1:8080", token, shown=True) == [
        "dashboard: http://127.0.0.1:8080/login#skf_one_secret",
        f"the first admin token: {token}",
    ]
    assert "secret" not in "".join(ways_in("http://127.0.0.1:8080", token, shown=False))


def check_the_api(skyfill: Skyfill, job_id: str) -> None:
    """It runs with the rest, and the first token is there for the folder's owner alone."""
    place = skyfill.folder / ".skyfill"
    url = json.loads(until(lambda: (place / "api.json").exists() and (place / "api.json").read_text()))["url"]
    token = place / "api-token"
    assert token.stat().st_mode & 0o777 == 0o600
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
    answer = httpx.get(f"{url}/api/backfill/status/{job_id}", headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (200, "complete")
    assert httpx.get(f"{url}/api/backfill/audit").status_code == 401


def read(skyfill: Skyfill, process: str) -> str:
    """The log of a process of `up`, as far as there is one."""
    log = skyfill.folder / ".skyfill" / "logs" / f"{process}.log"
    return log.read_text() if log.exists() else ""


@pytest.mark.timeout(300)
def test_topics_produce_and_each_process_by_itself(skyfill: Skyfill, network: Served, prefix: str) -> None:
    accounts = network.ok(5)
    missing = skyfill.run("worker")
    assert missing.code == 1
    assert "run `skyfill topics create`" in missing.err
    assert skyfill.run("topics", "create").out.startswith(f"{len(TOPIC_MODELS)} topics made, 0 were there\n")
    assert skyfill.run("topics", "create").out == f"0 topics made, {len(TOPIC_MODELS)} were there\n"
    listed = skyfill.run("topics", "list").out
    assert [line.split()[:3] for line in listed.splitlines() if f"{prefix}dids " in line] == [
        [f"{prefix}dids", "4", "4"]
    ]

    document = skyfill.document(
        "produced",
        source={"type": "inline", "dids": [account.did for account in accounts]},
        storage={"type": "parquet", "path": "out"},
    )
    produced = skyfill.run("produce", document, "--id", "produced")
    assert (produced.code, produced.out) == (0, "produced\n"), produced

    commands = [
        ("producer",),
        ("worker", "--slot", 0),
        ("tracker", "--slot", 0),
        ("sink", "parquet", "--slot", 0),
        ("sink", "dynamodb", "--slot", 0),
    ]
    processes = [skyfill.start(*command) for command in commands]
    watched = skyfill.run("status", "produced", "--watch")
    assert watched.code == 0, watched
    assert f"produced: complete, {len(accounts)} of {len(accounts)} accounts" in watched.out.splitlines()[-1]
    for process in processes:
        process.process.send_signal(signal.SIGTERM)
    for command, process in zip(commands, processes, strict=True):
        ended = process.wait(30)
        assert ended.code == 0, (command, ended)
        assert "Traceback" not in ended.err
    # A sink that is told to stop stores what it has read.
    assert compare("Parquet", records_of(accounts), parquet_records(skyfill.folder / "out")).exact
