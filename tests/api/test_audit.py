"""Who did what: before it is done, in the topic and in a file, and without any secret."""

from __future__ import annotations

import json
from typing import Any

import httpx

from messaging.scan import scan
from schemas.audit import AuditEntry
from schemas.job_status import JobStatus
from tests.api.jobs import publish, status
from tests.api.server import ApiServer, document, eventually


def entries(server: ApiServer) -> list[AuditEntry]:
    """All of the topic, the oldest first."""
    found = scan(server.settings.kafka, server.board.names.audit, 0, None)
    return [AuditEntry.decode(message.value or b"") for message in found]


def of_request(server: ApiServer, answer: httpx.Response) -> list[AuditEntry]:
    return [one for one in entries(server) if one.request_id == answer.headers["x-request-id"]]


def test_whatever_changes_something_is_there_before_the_answer(server: ApiServer) -> None:
    operator, admin = server.client("operator"), server.client("admin")
    start = operator.post("/api/backfill/start", json=document("audited"))
    job_id = start.json()["job_id"]
    publish(server, JobStatus.model_validate(status(job_id).model_dump()))
    answers = [
        (start, "start_job", job_id, 202),
        (operator.post(f"/api/backfill/jobs/{job_id}/pause"), "pause_job", job_id, 202),
        (operator.delete(f"/api/backfill/jobs/{job_id}?force=true"), "cancel_job", job_id, 202),
        (operator.put("/api/backfill/configs/audited", json=document()), "write_config", "audited", 201),
        (operator.delete("/api/backfill/configs/audited"), "delete_config", "audited", 204),
        (admin.post("/api/backfill/tokens", json={"name": "x", "role": "viewer"}), "create_token", None, 201),
    ]
    for answer, what, subject, status_code in answers:
        assert answer.status_code == status_code, answer.text
        [entry] = of_request(server, answer)
        assert (entry.what, entry.status, entry.address) == (what, status_code, "127.0.0.1")
        assert subject is None or entry.subject == subject
        assert entry.role in ("operator", "admin")
    text = answers[-1][0].json()["token"]
    place = server.settings.data_dir / "audit.jsonl"
    assert place.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in place.read_text().splitlines()]
    assert {line["request_id"] for line in lines} >= {one[0].headers["x-request-id"] for one in answers}
    secrets = [text, *server.tokens.values()]
    everything = place.read_text() + "".join(one.model_dump_json() for one in entries(server))
    assert not [one for one in secrets if one in everything or one.split("_")[2] in everything]


def test_what_was_refused_is_there_too_and_what_only_reads_is_not(server: ApiServer) -> None:
    viewer, operator = server.client("viewer"), server.client("operator")
    refused = [
        (httpx.get(f"{server.url}/api/backfill/jobs"), 401, None),
        (viewer.post("/api/backfill/start", json=document()), 403, "viewer"),
        (operator.get("/api/backfill/audit"), 403, "operator"),
        (operator.delete("/api/backfill/jobs/nobody"), 404, "operator"),
        (operator.post("/api/backfill/start", json={}), 422, "operator"),
    ]
    read = [
        viewer.get("/api/backfill/jobs"),
        viewer.post("/api/backfill/configs/validate", json=document()),
        viewer.post("/api/backfill/configs/validate", json={}),
        viewer.get("/api/backfill/status/nobody"),
    ]
    for answer, status_code, role in refused:
        assert answer.status_code == status_code
        [entry] = eventually(lambda answer=answer: of_request(server, answer))
        assert (entry.status, entry.role, bool(entry.detail)) == (status_code, role, True)
    assert not [entry for answer in read for entry in of_request(server, answer)]


def test_admins_read_it_in_pages_newest_first(server: ApiServer) -> None:
    admin = server.client("admin")
    for number in range(5):
        assert admin.put(f"/api/backfill/configs/c{number}", json=document()).is_success
    wanted = [one.request_id for one in entries(server)][::-1]
    found: list[dict[str, Any]] = []
    params = {"limit": "4"}
    while True:
        page = admin.get("/api/backfill/audit", params=params).json()
        found += page["entries"]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert [one["request_id"] for one in found] == wanted
    assert [one["subject"] for one in found[:5]] == ["c4", "c3", "c2", "c1", "c0"]
