"""Starting and turning jobs: what is sent to the planner, what is refused, and that nothing is done twice."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from messaging.scan import scan
from schemas.deadletter import DeadLetter
from schemas.jobs import MOST_LETTERS, JobMessage
from schemas.replays import Replay
from tests.api.jobs import BEGAN, publish, spec, status
from tests.api.server import ApiServer, document


def commands(server: ApiServer, job_id: str) -> list[JobMessage]:
    """What `jobs` holds of a job."""
    found = scan(server.settings.kafka, server.board.names.jobs, 0, None)
    return [JobMessage.decode(message.value or b"") for message in found if message.key == job_id]


def start(
    server: ApiServer, name: str, key: str | None = None, query: str = "", **more: Any
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return server.client("operator").post(
        f"/api/backfill/start{query}", json=document(name, **more), headers=headers
    )


def test_the_same_key_is_the_same_job(server: ApiServer) -> None:
    first, again = start(server, "keyed", "night 1"), start(server, "keyed", "night 1")
    assert (first.status_code, again.status_code) == (202, 202)
    job_id = first.json()["job_id"]
    assert again.json()["job_id"] == job_id
    assert len(commands(server, job_id)) == 1
    other = start(server, "keyed", "night 1", record_types=["like"])
    assert (other.status_code, other.json()["type"]) == (422, "urn:skyfill:problem:key-used")
    assert len(commands(server, job_id)) == 1
    assert start(server, "keyed", "night 2").json()["job_id"] != job_id
    # Another token's keys are its own.
    admin = server.client("admin").post(
        "/api/backfill/start", json=document("keyed"), headers={"Idempotency-Key": "night 1"}
    )
    assert admin.json()["job_id"] != job_id
    # Also once the planner has taken it.
    taken = spec(job_id, backfill=commands(server, job_id)[0].backfill)
    server.board.write(server.board.names.job_specs, job_id, taken)
    assert start(server, "keyed", "night 1").status_code == 202
    assert start(server, "keyed", "night 1", record_types=["like"]).status_code == 422
    assert len(commands(server, job_id)) == 1


def test_a_chosen_id_is_one_job(server: ApiServer) -> None:
    assert [start(server, "chosen", query="?job_id=my-own").status_code for _ in range(2)] == [202, 202]
    assert len(commands(server, "my-own")) == 1
    refused = start(server, "chosen", query="?job_id=my-own", record_types=["like"])
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:skyfill:problem:id-taken")
    for wrong in ("a/b", "-x", "x" * 201, "%20", ""):
        assert start(server, "chosen", query=f"?job_id={wrong}").status_code == 422


def test_without_a_key_each_start_is_a_job_of_its_own(server: ApiServer) -> None:
    assert len({start(server, "again").json()["job_id"] for _ in range(3)}) == 3


def test_what_is_sent_is_the_document_with_its_paths_resolved(server: ApiServer) -> None:
    [sent] = commands(server, start(server, "sent").json()["job_id"])
    [folder] = server.settings.api.folders or []
    assert (sent.action, sent.backfill and sent.backfill["storage"]) == (
        "start",
        [{"type": "parquet", "path": str(folder.resolve() / "out")}],
    )


def test_a_wrong_document_is_told_line_by_line_and_starts_nothing(server: ApiServer) -> None:
    operator = server.client("operator")
    text = (
        "backfill:\n  name: wrong\n  source: {type: inlin, dids: [x]}\n"
        "  storage: {type: parquet, path: /etc}\n"
    )
    yaml = {"Content-Type": "application/yaml"}
    answer = operator.post("/api/backfill/start", content=text, headers=yaml)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    [mistake] = answer.json()["errors"]
    assert (mistake["line"], mistake["key"]) == (3, "backfill.source")
    answer = operator.post("/api/backfill/start", content=text.replace("inlin,", "inline,"), headers=yaml)
    assert "api.folders" in answer.json()["errors"][0]["message"]
    assert operator.get("/api/backfill/jobs?name=wrong").json()["jobs"] == []


def test_a_literal_secret_is_refused_and_not_repeated(server: ApiServer) -> None:
    canary = "whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnk="
    webhooks = [{"url": "https://example.com/hook", "secret": canary}]
    answers = [start(server, "secret", monitoring={"webhooks": webhooks})]
    answers.append(
        server.client("viewer").post(
            "/api/backfill/configs/validate", json=document("secret", monitoring={"webhooks": webhooks})
        )
    )
    assert [answer.status_code for answer in answers] == [422, 200]
    for answer in answers:
        assert canary not in answer.text
        assert "reference" in answer.text


@pytest.mark.parametrize(
    ("headers", "content", "status_code"),
    [
        ({"Content-Type": "text/plain"}, b"backfill: {}", 415),
        ({}, b"{}", 415),
        ({"Content-Type": "application/json"}, b"{", 422),
        ({"Content-Type": "application/json"}, b"\xff", 422),
        ({"Content-Type": "application/json"}, b"[" * 100_000, 422),
        ({"Content-Type": "application/yaml"}, b"[" * 50_000, 422),
        ({"Content-Type": "application/json"}, b" " * (2**20 + 1), 413),
    ],
)
def test_what_is_no_document_is_refused(
    server: ApiServer, headers: dict[str, str], content: bytes, status_code: int
) -> None:
    for path in ("/api/backfill/start", "/api/backfill/configs", "/api/backfill/plan"):
        answer = server.client("admin").post(path, content=content, headers=headers)
        assert answer.status_code == status_code, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_is_counted_while_it_is_read(server: ApiServer) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while sent < 64 * 2**20:
            sent += 2**16
            yield b" " * 2**16

    client = server.client("operator")
    try:
        answer = client.post(
            "/api/backfill/start", content=endless(), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # the server has hung up while we were still sending, as it may
    assert sent < 32 * 2**20


def test_a_dry_run_changes_nothing(server: ApiServer) -> None:
    answer = server.client("viewer").post("/api/backfill/plan", json=document("only-planned"))
    assert answer.status_code == 200, answer.text
    assert (answer.json()["accounts"], answer.json()["accounts_are"]) == (1, "counted")
    assert server.client("viewer").get("/api/backfill/jobs?name=only-planned").json()["jobs"] == []
    missing = document("only-planned", source={"type": "file", "path": "nowhere.txt"})
    answer = server.client("viewer").post("/api/backfill/plan", json=missing)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:skyfill:problem:source-unreadable")


def test_commands_are_sent_where_they_can_be_followed(server: ApiServer) -> None:
    operator = server.client("operator")
    publish(server, status("going"))
    assert operator.post("/api/backfill/jobs/going/pause").json() == {"job_id": "going"}
    refused = operator.post("/api/backfill/jobs/going/resume")
    assert (refused.status_code, "is not paused" in refused.json()["detail"]) == (409, True)
    publish(server, status("going", status="paused"))
    refused = operator.post("/api/backfill/jobs/going/pause")
    assert (refused.status_code, "is paused already" in refused.json()["detail"]) == (409, True)
    assert operator.post("/api/backfill/jobs/going/resume").status_code == 202
    assert operator.delete("/api/backfill/jobs/going").status_code == 202
    publish(server, status("going", cancelled_at=BEGAN))
    assert operator.delete("/api/backfill/jobs/going").status_code == 409
    assert operator.post("/api/backfill/jobs/going/pause").status_code == 409
    assert operator.delete("/api/backfill/jobs/going?force=true").status_code == 202
    publish(server, status("going", status="cancelled", cancelled_at=BEGAN))
    for answer in (
        operator.delete("/api/backfill/jobs/going?force=true"),
        operator.post("/api/backfill/jobs/going/retry"),
    ):
        assert (answer.status_code, "cancelled, which is final" in answer.json()["detail"]) == (409, True)
    sent = [(one.action, one.force) for one in commands(server, "going")]
    assert sent == [("pause", False), ("resume", False), ("cancel", False), ("cancel", True)]
    publish(server, status("over", status="complete"))
    ended = operator.delete("/api/backfill/jobs/over")
    assert (ended.status_code, "has ended (complete)" in ended.json()["detail"]) == (409, True)
    unknown = operator.delete("/api/backfill/jobs/nobody")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:skyfill:problem:unknown-job")


def letter(job_id: str, number: int, **more: Any) -> DeadLetter:
    return DeadLetter.model_validate(
        {
            "stage": "fetch",
            "error_type": "network_error",
            "reason": "HostTimeout",
            "detail": f"GET https://me:hunter2hunter2@pds.example.com/?token=s3cret{number} was silent",
            "job_id": job_id,
            "did": f"did:plc:{number:024}",
            "host": "https://pds.example.com",
            "at": BEGAN,
            **more,
        }
    )


def test_dead_letters_are_paged_filtered_and_retried_once(server: ApiServer) -> None:
    board, names = server.board, server.board.names
    viewer, operator = server.client("viewer"), server.client("operator")
    publish(server, status("failed", status="partial_success"))
    assert operator.post("/api/backfill/jobs/failed/retry").status_code == 409  # nothing there yet
    for number in range(7):
        board.write(names.deadletter, f"did:plc:{number}", letter("failed", number))
        board.write(names.deadletter, f"did:plc:{number}", letter("another", number))
    board.write(
        names.deadletter, "k", letter("failed", 7, stage="record", reason="RecordInvalid", uri="at://x")
    )
    board.write(names.deadletter, "k", letter("failed", 8, host="https://other.example.com"))
    address = "/api/backfill/jobs/failed/deadletters"
    found: list[dict[str, Any]] = []
    params = {"limit": "2"}
    while True:
        page = viewer.get(address, params=params).json()
        found += page["letters"]
        assert len(page["letters"]) <= 2
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert len({one["id"] for one in found}) == len(found) == 9
    assert not [one for one in found if "hunter2" in one["detail"] or "s3cret" in one["detail"]]
    assert all(one["replayed"] is None for one in found)

    def chosen(query: str) -> int:
        return len(viewer.get(f"{address}?{query}").json()["letters"])

    assert (chosen("reason=RecordInvalid"), chosen("stage=fetch"), chosen("host=other.example.com")) == (
        1,
        8,
        1,
    )
    assert viewer.get(f"{address}?cursor=9:0").status_code == 422

    fetched = [one["id"] for one in found if one["stage"] == "fetch"]
    [first, *_] = fetched
    [record] = [one for one in found if one["stage"] == "record"]
    assert record["not_replayable"]
    asked = operator.post("/api/backfill/jobs/failed/retry", json={"letters": [first]})
    assert (asked.status_code, asked.json()["letters"]) == (202, 1)
    replay = Replay(letter=first, job_id="failed", asked_at=BEGAN, command=0, accounts=1)
    board.write(names.replays, first, replay)
    assert operator.post("/api/backfill/jobs/failed/retry", json={"letters": [first]}).status_code == 409
    rest = operator.post("/api/backfill/jobs/failed/retry")
    assert (rest.status_code, rest.json()["letters"]) == (202, 7)
    assert list(rest.json()["left_out"].values()) == [1]
    sent = [sorted(one.letters or []) for one in commands(server, "failed")]
    assert sent == [[first], sorted(set(fetched) - {first})]
    shown = {one["id"]: one["replayed"] for one in viewer.get(address).json()["letters"]}
    assert shown[first]["accounts"] == 1

    for body in ({"letters": []}, {"letters": ["x"]}, {"letters": 3}, {"letters": None}, {"letter": []}, [1]):
        answer = operator.post("/api/backfill/jobs/failed/retry", json=body)
        assert answer.status_code == 422, body
    others = operator.post("/api/backfill/jobs/over/retry", json={"letters": [first]})
    assert others.status_code == 409
    assert json.dumps(others.json()).count("another job") == 1
    assert MOST_LETTERS == 1000
