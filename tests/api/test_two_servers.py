"""Two processes behind one address: whoever is asked, the answer is the same."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from messaging.scan import scan
from schemas.jobs import JobMessage
from tests.api.jobs import publish, status
from tests.api.server import ApiServer, document, settings_for


@pytest.fixture(scope="module")
def servers(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ApiServer]]:
    settings = settings_for(kafka, tmp_path_factory.mktemp("api"))
    first = ApiServer(settings)
    second = ApiServer(settings)
    second.tokens = first.tokens
    yield [first, second]
    second.close()
    first.close()


def test_what_one_has_written_the_other_knows_at_once(servers: list[ApiServer]) -> None:
    """Each of these would fail now and then if a process answered from what it happens to have read."""
    for number in range(10):
        one, other = servers[:: -1 if number % 2 else 1]
        started = one.client("operator").post("/api/backfill/start", json=document(f"both-{number}"))
        job_id = started.json()["job_id"]
        viewer = other.client("viewer")
        assert viewer.get(f"/api/backfill/status/{job_id}").json()["status"] == "queued"
        assert [job["job_id"] for job in viewer.get(f"/api/backfill/jobs?name={job_id}").json()["jobs"]] == [
            job_id
        ]
        publish(one, status(job_id, status="paused"))
        assert viewer.get(f"/api/backfill/status/{job_id}").json()["status"] == "paused"

        config = f"/api/backfill/configs/c{number}"
        made = one.client("operator").put(config, json=document())
        read = viewer.get(config)
        assert (read.status_code, read.headers["etag"]) == (200, made.headers["etag"])
        assert one.client("operator").delete(config, headers={"If-Match": made.headers["etag"]}).is_success
        assert viewer.get(config).status_code == 404

        token = one.client("admin").post("/api/backfill/tokens", json={"name": "x", "role": "viewer"}).json()
        headers = {"Authorization": f"Bearer {token['token']}"}
        jobs = f"{other.url}/api/backfill/jobs"
        assert httpx.get(jobs, headers=headers).status_code == 200
        one.client("admin").delete(f"/api/backfill/tokens/{token['id']}")
        assert httpx.get(jobs, headers=headers).status_code == 401


def test_they_tell_the_same(servers: list[ApiServer]) -> None:
    for number in range(5):
        publish(servers[0], status(f"same-{number}"))

    def told(server: ApiServer, path: str) -> Any:
        return server.client("viewer").get(path).json()

    for path in ("/api/backfill/jobs", "/api/backfill/status/same-1", "/api/backfill/jobs/same-1/report"):
        assert told(servers[0], path) == told(servers[1], path)


def test_one_key_at_both_at_once_is_one_job_and_one_document(servers: list[ApiServer]) -> None:
    """The planner follows the first start of an id: whoever sent another document is told so."""
    names = servers[0].board.names
    for number in range(6):
        key = {"Idempotency-Key": f"race {number}"}

        def post(server: ApiServer, kind: str, key: dict[str, str] = key) -> httpx.Response:
            body = document("race", record_types=[kind])
            return server.client("operator").post("/api/backfill/start", json=body, headers=key)

        with ThreadPoolExecutor(4) as pool:
            kinds = ("like", "post", "like", "post")
            answers = list(pool.map(post, servers * 2, kinds))
        accepted = {kind for kind, one in zip(kinds, answers, strict=True) if one.status_code == 202}
        assert {one.status_code for one in answers} == {202, 422}
        [kind] = accepted
        [job_id] = {one.json()["job_id"] for one in answers if one.status_code == 202}
        sent = [
            JobMessage.decode(message.value or b"")
            for message in scan(servers[0].settings.kafka, names.jobs, 0, None)
            if message.key == job_id
        ]
        assert (sent[0].backfill or {})["record_types"] == [kind]
