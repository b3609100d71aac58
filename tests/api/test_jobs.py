"""Jobs as they are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.hosts import BucketState, HostState
from schemas.jobs import JobMessage
from tests.api.jobs import BEGAN, host, publish, rates, spec, status
from tests.api.server import ApiServer, document


def test_a_job_is_shown_with_all_that_is_known_of_it(server: ApiServer) -> None:
    board, names = server.board, server.board.names
    board.write(names.job_specs, "whole", spec("whole"))
    publish(server, status("whole"))
    for number in range(25):
        part = host("whole", number, planned=number + 1)
        board.write(names.job_hosts, f"whole {part.host}", part, by="whole")
    now = datetime.now(UTC)
    board.write(
        names.hosts,
        "https://pds24.example.com",
        HostState(
            origin="https://pds24.example.com",
            buckets=[
                BucketState(
                    limit=3000, remaining=750, resets_at=now + timedelta(hours=1), reset_mark=now.timestamp()
                )
            ],
            breaker="open",
            retry_at=now,
            requests=100,
            refusals=1,
            counted_since=now,
            updated_at=now,
        ),
    )
    board.write(names.rates, "whole", rates("whole"))
    viewer = server.client("viewer")
    job = viewer.get("/api/backfill/status/whole").json()
    assert job["status"] == "processing"
    assert job["explanation"]
    assert job["progress"] == {
        "total": 10,
        "plan_finished": True,
        "completed": 2,
        "skipped": 0,
        "unavailable": 1,
        "failed": 1,
        "cancelled": 0,
        "retrying": 2,
        "current": 6,
        "replaying": 0,
        "percent": 40.0,
        "duplicates": 0,
        "left_out": {},
        "unavailable_by": {"RepoTakendown": 1},
        "failed_by": {"timeout_error": 1},
    }
    assert job["strategy"] == "repo"
    assert job["scope"]["deny"]["dids"] == []
    assert job["outputs"] == [{"type": "parquet", "path": "out"}]
    assert job["source"] == {"type": "inline", "dids": "1 in the document"}
    assert job["record_types"]["by_type"] == {"app.bsky.feed.post": 120}
    [error] = job["errors"]
    assert (error["type"], error["attempts"], error["retryable"], error["permanent"]) == (
        "timeout_error",
        4,
        3,
        1,
    )
    assert error["samples"][0]["reason"] == "HostTimeout"
    performance = job["performance"]
    assert performance["records_per_second"] == 20
    assert performance["eta_seconds"] == 12
    assert performance["cache_hit_rate"] == 0.75
    assert performance["limiter_use"] == 0.75
    assert job["submitted_at"] == "2026-11-20T12:00:00Z"
    assert job["finished_at"] is None
    assert [entry["event"] for entry in job["history"]] == ["submitted"]
    assert (len(job["hosts"]), job["hosts_total"]) == (20, 25)
    assert job["hosts"][0]["host"] == "https://pds24.example.com"
    assert (job["hosts"][0]["breaker"], job["hosts"][0]["limiter_use"]) == ("open", 0.75)
    assert job["hosts"][1]["breaker"] is None

    seen: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = viewer.get("/api/backfill/jobs/whole/hosts", params={"limit": "10", **cursor}).json()
        seen += page["hosts"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [one["planned"] for one in seen] == list(range(25, 0, -1))
    assert seen[-1]["repositories_per_second"] == 0.25

    report = viewer.get("/api/backfill/jobs/whole/report").json()
    assert (report["planned"], report["done"], report["complete"], len(report["hosts"])) == (10, 4, False, 25)

    board.write(names.job_hosts, "whole https://pds24.example.com", None, by="whole")
    assert viewer.get("/api/backfill/jobs/whole/hosts").json()["total"] == 24

    pace = viewer.get("/api/backfill/performance").json()
    assert [one["job"]["job_id"] for one in pace["jobs"]] == ["whole"]
    assert pace["records_per_second"] == 20
    assert (pace["hosts"][0]["requests"], pace["hosts"][0]["refused_share"]) == (100, 0.01)
    assert pace["counts"]["jobs"] == {"processing": 1}


def test_what_is_not_known_is_null_and_never_0(server: ApiServer) -> None:
    publish(server, status("unknown-pace", total=0, totals={}, errors={}, resolved={}, plan_finished=False))
    job = server.client("viewer").get("/api/backfill/status/unknown-pace").json()
    assert job["progress"]["percent"] is None
    performance = job["performance"]
    for key in (
        "records_per_second",
        "repositories_per_second",
        "eta_seconds",
        "cache_hit_rate",
        "limiter_use",
    ):
        assert performance[key] is None, key
    assert (job["strategy"], job["scope"], job["outputs"]) == (None, None, [])


def test_a_job_is_known_from_its_command_on_whatever_is_read_first(server: ApiServer) -> None:
    board, names, viewer = server.board, server.board.names, server.client("viewer")
    command = JobMessage(action="start", backfill=document("early")["backfill"])
    board.write(names.jobs, "early", command)
    assert viewer.get("/api/backfill/status/early").json()["status"] == "queued"
    board.write(names.job_specs, "early", spec("early", state="paused"))
    assert viewer.get("/api/backfill/status/early").json()["status"] == "paused"
    publish(server, status("early"))
    assert viewer.get("/api/backfill/status/early").json()["status"] == "processing"
    # A command that nobody can read, and one about a document that is none, are jobs all the same.
    board.write(names.jobs, "unreadable", b"{")
    assert viewer.get("/api/backfill/status/unreadable").status_code == 404
    board.write(names.jobs, "no-document", JobMessage(action="start", backfill={"source": 3}))
    job = viewer.get("/api/backfill/status/no-document").json()
    assert (job["status"], job["name"], job["strategy"]) == ("queued", None, None)


@pytest.fixture(scope="module")
def listed(server: ApiServer) -> list[str]:
    """Seven jobs, the newest last."""
    ids = [f"listed-{number}" for number in range(7)]
    for number, job_id in enumerate(ids):
        ended = number % 2 == 0
        publish(
            server,
            status(
                job_id,
                status="complete" if ended else "paused",
                submitted_at=BEGAN + timedelta(days=number // 2),  # two at a time: ids tell them apart
            ),
        )
    return ids


def test_jobs_are_listed_in_pages_newest_first(server: ApiServer, listed: list[str]) -> None:
    viewer = server.client("viewer")
    found: list[str] = []
    params: dict[str, str] = {"name": "listed-", "limit": "3"}
    pages = 0
    while True:
        page = viewer.get("/api/backfill/jobs", params=params).json()
        found += [job["job_id"] for job in page["jobs"]]
        pages += 1
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert (found, pages) == (listed[::-1], 3)


@pytest.mark.parametrize(
    ("params", "numbers"),
    [
        ({"status": "complete"}, {0, 2, 4, 6}),
        ({"status": ["complete", "paused"]}, {0, 1, 2, 3, 4, 5, 6}),
        ({"since": "2026-11-22T12:00:00Z"}, {4, 5, 6}),
        ({"since": "2026-11-22T14:00:00+02:00", "until": "2026-11-23T12:00:00Z"}, {4, 5}),
        ({"name": "listed-3"}, {3}),
        ({"name": "LISTED"}, set()),
    ],
)
def test_jobs_are_filtered(
    server: ApiServer, listed: list[str], params: dict[str, Any], numbers: set[int]
) -> None:
    found = server.client("viewer").get("/api/backfill/jobs", params={"name": "listed-", **params}).json()
    assert {job["job_id"] for job in found["jobs"]} == {listed[number] for number in numbers}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=!!",
        "cursor=WzFd",
        "since=yesterday",
        "since=5",
        "status=done",
    ],
)
def test_wrong_parameters_are_named(server: ApiServer, query: str) -> None:
    answer = server.client("viewer").get(f"/api/backfill/jobs?{query}")
    assert answer.status_code == 422
    assert query.partition("=")[0] in answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_lag_is_told_with_its_age(server: ApiServer) -> None:
    lag = server.client("viewer").get("/api/backfill/lag").json()
    groups = {row["group"].removeprefix(server.settings.kafka.topic_prefix) for row in lag["topics"]}
    assert groups >= {"planner", "workers", "tracker", "sink.parquet", "sink.dynamodb"}
    assert lag["age_seconds"] >= 0
    [jobs] = [row for row in lag["partitions"] if row["topic"].endswith(".jobs")]
    assert (jobs["partition"], jobs["committed"]) == (0, 0)
    assert jobs["lag"] == jobs["end"]
