"""Each job that ends leaves a report beside its files: one row an account, whatever happens meanwhile."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.job_status import Counts, JobHost, JobStatus, host_key
from schemas.outcomes import JobEvent, PlanOutcome, Replaced, RepoOutcome
from schemas.settings import MetricsSettings
from sinks.parquet import run_parquet_sink
from sinks.reports import ACCOUNTS, FOLDER, SUMMARY, report_of
from tests.sinks.deployment import Deployment, accounts, wait_until

NOW = datetime.now(UTC).replace(microsecond=0)
POST, LIKE = "app.bsky.feed.post", "app.bsky.feed.like"


@pytest.fixture
def deployment(kafka: str, prefix: str) -> Deployment:
    return Deployment(kafka, prefix)


def outcome(job: str, did: str, status: str = "completed", **figures: Any) -> RepoOutcome:
    return RepoOutcome.model_validate({"job_id": job, "did": did, "status": status} | figures)


def tell(deployment: Deployment, *outcomes: RepoOutcome | PlanOutcome | JobEvent) -> None:
    for one in outcomes:
        deployment.publisher.publish(deployment.names.outcomes, one.job_id, one.encode())
    deployment.publisher.commit()


def end(deployment: Deployment, job: str, terminal: int, ended: datetime = NOW, **more: Any) -> None:
    known = {"status": "complete", "totals": Counts(completed=terminal), "finished_at": ended}
    status = JobStatus.model_validate(known | {"job_id": job, "total": terminal, "updated_at": NOW} | more)
    deployment.publisher.publish(deployment.names.job_status, job, status.encode())
    deployment.publisher.commit()


def rows(folder: Path) -> list[dict[str, str]]:
    text = gzip.decompress((folder / ACCOUNTS).read_bytes()).decode()
    return list(csv.DictReader(io.StringIO(text)))


def said(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / SUMMARY).read_bytes()))


def test_every_account_has_one_row_and_the_summary_adds_them_up(
    deployment: Deployment, tmp_path: Path
) -> None:
    folder = str(tmp_path / "out")
    tell(deployment, outcome("mine", "did:plc:before"))  # of an earlier life of the id: not this job's
    deployment.start_job("mine", {"type": "parquet", "path": folder})
    deployment.start_job("other", {"type": "parquet", "path": str(tmp_path / "other")})
    full = outcome(
        "mine",
        "did:plc:a",
        handle='quoted, "a".example',
        host="https://pds.example",
        strategy="repo",
        proof="commit",
        rev="3l3qo2vutsw2b",
        records={POST: 3, LIKE: 2},
        dropped={"time_range": 7},
        bytes=1234,
        attempt=2,
        fetched_at=NOW,
    )
    again = outcome("mine", "did:plc:a", "retrying", error_type="timeout_error", reason="HostTimeout")
    gone = outcome("mine", "did:plc:b", "unavailable", error_type="data_unavailable", reason="RepoTakendown")
    event = JobEvent(job_id="mine", event="submitted", at=NOW)
    tell(deployment, event, again, outcome("other", "did:plc:a"), full)
    deployment.publisher.publish(deployment.names.outcomes, "mine", b"no outcome")
    tell(deployment, gone, PlanOutcome(job_id="mine", planned=2, finished=True))
    for job in ("mine", "other"):
        page = JobHost(job_id=job, host="https://pds.example", planned=2, counts=Counts(completed=1))
        key = host_key(job, page.host)
        deployment.publisher.publish(deployment.names.job_hosts, key, page.encode(), beside=job)
    end(deployment, "mine", 2)
    with deployment.running(run_parquet_sink) as alive:
        report = report_of(folder, "mine")
        wait_until(lambda: alive() and (report / SUMMARY).exists())
        wait_until(lambda: (tmp_path / "out" / FOLDER / SUMMARY).exists())
    assert rows(report) == [
        {
            "did": "did:plc:a",
            "handle": 'quoted, "a".example',
            "host": "https://pds.example",
            "status": "completed",
            "error_type": "",
            "reason": "",
            "attempts": "2",
            "strategy": "repo",
            "proof": "commit",
            "rev": "3l3qo2vutsw2b",
            "records": "5",
            "records_by_type": '{"app.bsky.feed.like":2,"app.bsky.feed.post":3}',
            "dropped_by_reason": '{"time_range":7}',
            "bytes": "1234",
            "fetched_at": NOW.isoformat(),
        },
        dict.fromkeys(rows(report)[1], "")
        | {
            "did": "did:plc:b",
            "status": "unavailable",
            "error_type": "data_unavailable",
            "reason": "RepoTakendown",
            "attempts": "1",
            "records": "0",
            "bytes": "0",
        },
    ]
    summary = said(report)
    assert (summary["job_id"], summary["status"], summary["totals"]["completed"]) == ("mine", "complete", 2)
    assert summary["accounts"]["by_status"] == {"completed": 1, "unavailable": 1}
    assert (summary["accounts"]["accounts"], summary["accounts"]["missing"]) == (2, 0)
    assert "note" not in summary["accounts"]
    [(host, page)] = summary["hosts"].items()
    assert (host, page["planned"], page["counts"]["completed"]) == ("https://pds.example", 2, 1)
    assert not report_of(tmp_path / "other", "other").exists(), "that job has not ended"
    for name in (ACCOUNTS, SUMMARY):
        assert (tmp_path / "out" / FOLDER / name).read_bytes() == (report / name).read_bytes()


def test_the_folder_shows_the_job_that_ended_last_and_keeps_the_others(
    deployment: Deployment, tmp_path: Path
) -> None:
    for job in ("late", "early"):
        deployment.start_job(job, {"type": "parquet", "path": str(tmp_path)})
        tell(deployment, outcome(job, f"did:plc:{job}"))
    end(deployment, "late", 1)
    with deployment.running(run_parquet_sink) as alive:
        wait_until(lambda: alive() and (tmp_path / FOLDER / SUMMARY).exists())
        end(deployment, "early", 1, NOW - timedelta(hours=5))
        wait_until(lambda: alive() and (report_of(tmp_path, "early") / SUMMARY).exists())
    assert said(tmp_path / FOLDER)["job_id"] == "late"
    assert [row["did"] for row in rows(tmp_path / FOLDER)] == ["did:plc:late"]
    assert [row["did"] for row in rows(report_of(tmp_path, "early"))] == ["did:plc:early"]


def test_a_job_that_a_new_broker_ran_anew_is_reported_anew_and_never_by_the_old_one(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    """The broker's data was deleted, the folder kept: the same document is the same job."""
    old, new = Deployment(kafka, f"{prefix}old."), Deployment(kafka, f"{prefix}new.")
    for deployment, status, ended in ((old, "failed", NOW - timedelta(hours=5)), (new, "completed", NOW)):
        deployment.start_job("mine", {"type": "parquet", "path": str(tmp_path)})
        failed = {"error_type": "network_error"} if status == "failed" else {}
        tell(deployment, outcome("mine", "did:plc:a", status, **failed))
        end(deployment, "mine", 1, ended)

    def statuses_once(deployment: Deployment, is_there: Callable[[], bool]) -> list[str]:
        with deployment.running(run_parquet_sink) as alive:
            wait_until(lambda: alive() and is_there())
        assert sorted(path.name for path in report.iterdir()) == [ACCOUNTS, SUMMARY]
        return [row["status"] for row in rows(report)]

    report = report_of(tmp_path, "mine")
    assert statuses_once(old, (report / SUMMARY).exists) == ["failed"]
    both = (report / SUMMARY), (tmp_path / FOLDER / SUMMARY)
    before = [path.read_bytes() for path in both]
    renewed = statuses_once(new, lambda: all(p.exists() and p.read_bytes() not in before for p in both))
    assert renewed == ["completed"]
    old.start_job("later", {"type": "parquet", "path": str(tmp_path)})
    end(old, "later", 0, NOW - timedelta(hours=4))
    looked = (report_of(tmp_path, "later") / SUMMARY).exists  # after the jobs before it
    assert statuses_once(old, looked) == ["completed"]
    assert [row["status"] for row in rows(tmp_path / FOLDER)] == ["completed"]


def test_a_replayed_account_has_the_row_of_its_last_end(deployment: Deployment, tmp_path: Path) -> None:
    """The report is written anew when the job has ended again, and not while it goes on."""
    deployment.start_job("mine", {"type": "parquet", "path": str(tmp_path)})
    lost, did = "alice.example", "did:plc:alice"
    failed = {"error_type": "network_error", "reason": "HostTimeout"}

    def again(name: str, number: int, status: str, replaced: str, **figures: Any) -> RepoOutcome:
        replaces = Replaced(letter=f"0:{number}", did=replaced, reason="HostTimeout")
        return outcome("mine", name, status, replay=number, replaces=replaces, **figures)

    tell(deployment, *(outcome("mine", name, "failed", **failed) for name in (lost, "did:plc:b")))
    tell(deployment, outcome("mine", "did:plc:c"), outcome("mine", "did:plc:d", "failed", **failed))
    end(deployment, "mine", 4, NOW - timedelta(minutes=9), totals=Counts(completed=1, failed=3))
    report = report_of(tmp_path, "mine")
    with deployment.running(run_parquet_sink) as alive:
        wait_until(lambda: alive() and (report / SUMMARY).exists())
        assert [row["status"] for row in rows(report)] == ["failed", "failed", "completed", "failed"]
        end(deployment, "mine", 4, status="processing", finished_at=None, replaying=2, replayed=2)
        tell(
            deployment,
            again(did, 1, "failed", lost, **failed),
            again("did:plc:b", 1, "retrying", "did:plc:b"),
        )
        tell(deployment, again("did:plc:b", 1, "completed", "did:plc:b", attempt=2))
        tell(deployment, again(did, 2, "completed", did, records={POST: 5}))
        end(deployment, "mine", 4, NOW, totals=Counts(completed=3, failed=1), replayed=3)
        wait_until(lambda: alive() and (report / SUMMARY).exists() and said(report)["replayed"] == 3)
    assert [(row["did"], row["status"], row["records"], row["attempts"]) for row in rows(report)] == [
        ("did:plc:c", "completed", "0", "1"),
        ("did:plc:d", "failed", "0", "1"),
        ("did:plc:b", "completed", "0", "2"),
        (did, "completed", "5", "1"),
    ]
    assert said(report)["accounts"]["by_status"] == {"completed": 3, "failed": 1}
    assert said(report)["accounts"]["missing"] == 0


@pytest.mark.parametrize(
    ("place", "when", "nth"),
    [
        ("sinks.accounts:Listed.__init__", "before", "1"),
        ("pathlib:Path.replace", "before", "1"),
        ("pathlib:Path.replace", "after", "1"),
        ("pathlib:Path.replace", "before", "2"),
    ],
)
def test_a_kill_in_the_midst_leaves_a_report_to_be_written_again(
    deployment: Deployment, tmp_path: Path, place: str, when: str, nth: str
) -> None:
    deployment.start_job("mine", {"type": "parquet", "path": str(tmp_path)})
    dids = accounts(500)
    tell(deployment, *(outcome("mine", did, records={POST: 1}) for did in dids))
    end(deployment, "mine", len(dids))
    silent = MetricsSettings(port=None)  # whose discovery file takes its place in the same way
    settings = deployment.settings.model_copy(update={"data_dir": tmp_path / "data", "metrics": silent})
    victim_command = [sys.executable, "-m", "tests.sinks.victim", "parquet"]
    report = report_of(tmp_path, "mine")
    report.mkdir(parents=True)  # of an earlier life of the job: it would not fit the new rows
    (report / SUMMARY).write_text(json.dumps({"finished_at": (NOW - timedelta(days=1)).isoformat()}))
    victim = subprocess.run(
        [*victim_command, settings.model_dump_json(), place, when, nth, "KILL"],
        stdout=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert (victim.returncode, victim.stdout) == (-signal.SIGKILL, b"struck\n")
    assert not (report / SUMMARY).exists(), "the summary comes last: what has one is whole"
    with deployment.running(run_parquet_sink) as alive:
        wait_until(lambda: alive() and (tmp_path / FOLDER / SUMMARY).exists())
    assert [row["did"] for row in rows(report)] == list(dids)
    assert said(report)["accounts"]["missing"] == 0
    assert sorted(path.name for path in report.iterdir()) == [ACCOUNTS, SUMMARY], "no draft is left"


def test_whoever_writes_it_writes_the_same_bytes(deployment: Deployment, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        tell(deployment, *(outcome(folder, did, records={POST: 1}) for did in accounts(50)))
        deployment.start_job(folder, {"type": "parquet", "path": str(tmp_path / folder)})
    tell(deployment, *(outcome(job, did) for did in accounts(300) for job in ("one", "two")))
    end(deployment, "one", 300)
    end(deployment, "two", 300)

    def written() -> list[bytes]:
        with deployment.running(run_parquet_sink) as alive:
            for job in ("one", "two"):
                wait_until(lambda j=job: alive() and (report_of(tmp_path / j, j) / SUMMARY).exists())  # type: ignore[misc]
        return [(report_of(tmp_path / job, job) / ACCOUNTS).read_bytes() for job in ("one", "two")]

    first = written()
    assert first[0] == first[1], "neither a job's id nor a time is in it"
    for job in ("one", "two"):
        (report_of(tmp_path / job, job) / SUMMARY).unlink()
    assert written() == first


def test_outcomes_that_are_no_longer_kept_are_told(
    deployment: Deployment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deployment.start_job("mine", {"type": "parquet", "path": str(tmp_path)})
    tell(deployment, outcome("mine", "did:plc:a"))
    end(deployment, "mine", 3)
    with caplog.at_level(logging.ERROR), deployment.running(run_parquet_sink) as alive:
        wait_until(lambda: alive() and (tmp_path / FOLDER / SUMMARY).exists())
    listing = said(tmp_path / FOLDER)["accounts"]
    assert listing["missing"] == 2
    assert "2 accounts of 3 are counted here and have no row" in listing["note"]
    assert "lists 1 accounts of 3" in caplog.text


def test_a_report_that_can_not_be_written_holds_up_no_row(
    deployment: Deployment, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.reports._AGAIN_SECONDS", 0.5)
    (tmp_path / FOLDER).write_text("a file is in the way")
    deployment.start_job("mine", {"type": "parquet", "path": str(tmp_path)})
    tell(deployment, outcome("mine", "did:plc:a"))
    end(deployment, "mine", 1)
    sent = deployment.send("mine", accounts(5), 4)
    logged: Callable[[], bool] = lambda: "will be tried again" in caplog.text  # noqa: E731
    with caplog.at_level(logging.WARNING), deployment.running(run_parquet_sink) as alive:
        wait_until(lambda: alive() and logged() and deployment.is_drained("parquet"))
        (tmp_path / FOLDER).unlink()
        wait_until(lambda: alive() and (tmp_path / FOLDER / SUMMARY).exists())
    assert sent
    assert len(rows(tmp_path / FOLDER)) == 1


def test_who_deleted_a_folder_does_not_get_it_back(deployment: Deployment, tmp_path: Path) -> None:
    for job, ended in (("old", NOW - timedelta(days=2)), ("new", NOW)):
        deployment.start_job(job, {"type": "parquet", "path": str(tmp_path / job)})
        tell(deployment, outcome(job, "did:plc:a"))
        end(deployment, job, 1, ended)
    with deployment.running(run_parquet_sink) as alive:
        wait_until(lambda: alive() and (tmp_path / "new" / FOLDER / SUMMARY).exists())
    assert not (tmp_path / "old").exists()
