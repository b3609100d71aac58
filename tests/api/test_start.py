"""From a document to a job that everybody knows of."""

from __future__ import annotations

import pytest
import yaml

from tests.api.server import ApiServer, document


def test_a_started_job_is_known_at_once(server: ApiServer) -> None:
    operator = server.client("operator")
    answer = operator.post("/api/backfill/start", json=document("at-once"))
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["job_id"]
    assert job_id.startswith("at-once-")
    assert len(job_id) == len("at-once-") + 10
    assert answer.headers["location"] == answer.json()["status_url"] == f"/api/backfill/status/{job_id}"
    status = server.client("viewer").get(answer.headers["location"])
    assert status.status_code == 200, status.text
    assert status.json()["status"] == "queued"
    assert status.json()["name"] == "at-once"
    assert [job["job_id"] for job in operator.get("/api/backfill/jobs?name=at-once").json()["jobs"]] == [
        job_id
    ]


@pytest.mark.parametrize("media_type", ["application/yaml", "text/yaml; charset=utf-8"])
def test_yaml_is_a_document_too(server: ApiServer, media_type: str) -> None:
    text = yaml.safe_dump(document("as-yaml"))
    answer = server.client("operator").post(
        "/api/backfill/start", content=text, headers={"Content-Type": media_type}
    )
    assert answer.status_code == 202, answer.text
