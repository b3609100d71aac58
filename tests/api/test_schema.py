"""The OpenAPI document against the real server: what it promises holds, and its examples run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.specs.openapi.checks import negative_data_rejection

from api.app import create_app
from schemas.deadletter import DeadLetter
from schemas.job_status import Counts, HistoryEntry, JobStatus
from schemas.settings import Settings
from tests.api.server import ApiServer, document, settings_for

DOCUMENT = create_app(Settings()).openapi()
# A document may fit its schema and be wrong all the same: a day before another, a path out of all folders.
# And no generated `If-Match` names a version, no generated `Accept` a type.
MAY_REFUSE = ["422", "406", "412"]
LENIENT = [negative_data_rejection]
"""Documents are read as people write YAML: `"3"` is 3. What is refused is tested with the schemas."""
NOW = datetime(2025, 11, 25, 12, tzinfo=UTC)
ENDED = JobStatus(
    job_id="example-job",
    name="example",
    status="partial_success",
    total=3,
    plan_finished=True,
    totals=Counts(completed=2, failed=1, records=10, bytes=1000, by_type={"app.bsky.feed.post": 10}),
    history=[HistoryEntry(at=NOW, event="submitted")],
    submitted_at=NOW,
    updated_at=NOW,
)


@pytest.fixture(scope="module")
def server(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    settings = settings_for(kafka, tmp_path_factory.mktemp("api"))
    with pytest.MonkeyPatch.context() as patch:
        # A client that reads events to their end, of a job that has none.
        patch.setattr("api.routes.events._LONGEST_SECONDS", 2.0)
        made = ApiServer(settings, plan_seconds=0.2)
        fill(made)
        yield made
        made.close()


def fill(made: ApiServer) -> None:
    """What the examples name."""
    names = made.board.names
    made.board.write(names.job_status, ENDED.job_id, ENDED)
    # Of two partitions, so that one of them has it as its first, which the example names.
    for key in ("a", "b", "c", "d"):
        made.board.write(names.deadletter, key, LETTER)
    assert made.client("operator").put("/api/backfill/configs/nightly", json=document()).status_code == 201


LETTER = DeadLetter(
    stage="fetch",
    error_type="network_error",
    reason="HostTimeout",
    job_id=ENDED.job_id,
    did="did:plc:z72i7hdynmk6r22z27h6tvur",
    host="https://pds.example.com",
    at=NOW,
)


def schema_of(*, coverage: bool) -> Any:
    """The document for schemathesis; with `coverage`, it also walks through each value that may be."""
    made = schemathesis.openapi.from_dict(DOCUMENT)
    made.config.checks.positive_data_acceptance.expected_statuses += MAY_REFUSE
    made.config.phases.coverage.enabled = coverage
    return made


def check(server: ApiServer, case: Case) -> None:
    takes_document = any(body.media_type == "application/yaml" for body in case.operation.body)
    case.call_and_validate(
        base_url=server.url,
        headers={"Authorization": f"Bearer {server.tokens['admin']}"},
        excluded_checks=LENIENT if takes_document else [],
        timeout=30,
    )


few, many = schema_of(coverage=False), schema_of(coverage=True)
SETTINGS = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


@few.parametrize()
@settings(max_examples=15, phases=[Phase.explicit, Phase.generate], **SETTINGS)
def test_every_promise_holds(case: Case, server: ApiServer) -> None:
    check(server, case)


@pytest.mark.long
@many.parametrize()
@settings(max_examples=30, **SETTINGS)
def test_every_promise_holds_for_much_more(case: Case, server: ApiServer) -> None:
    check(server, case)


def examples() -> list[tuple[str, str, str, Any]]:
    """Method, path, media type and body of each example; and all that is read, which needs no body."""
    found: list[tuple[str, str, str, Any]] = []
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if method == "get":
                found.append(("GET", path, "", None))
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                found += [
                    (method.upper(), path, media_type, one["value"]) for one in content["examples"].values()
                ]
    return found


def test_every_example_runs(server: ApiServer) -> None:
    admin = server.client("admin")
    assert admin.put("/api/backfill/configs/nightly", json=document()).is_success
    made = admin.post("/api/backfill/tokens", json={"name": "example", "role": "viewer"}).json()["id"]
    ran = 0
    for number, (method, path, media_type, body) in enumerate(examples()):
        address = path.format(job_id="example-job", name="nightly", token_id=made)
        if (method, path) == ("POST", "/api/backfill/configs"):
            address += f"?name=example-{number}"
        content = body if isinstance(body, str) or body is None else json.dumps(body)
        answer = admin.request(method, address, content=content, headers={"Content-Type": media_type})
        assert answer.is_success, f"{method} {address}: {answer.text}"
        ran += 1
    assert ran > 25
