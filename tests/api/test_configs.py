"""Documents kept by name."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from schemas.document import load_document
from tests.api.server import ApiServer, document

CONFIGS = "/api/backfill/configs"


def test_a_config_from_its_making_to_its_end(server: ApiServer) -> None:
    operator, viewer = server.client("operator"), server.client("viewer")
    made = operator.post(CONFIGS, json=document("kept"))
    assert (made.status_code, made.headers["location"]) == (201, f"{CONFIGS}/kept")
    assert operator.post(CONFIGS, json=document("kept")).status_code == 409
    read = viewer.get(f"{CONFIGS}/kept")
    assert (read.status_code, read.headers["etag"], read.json()) == (200, made.headers["etag"], made.json())
    assert read.json()["updated_by"] == server.tokens["operator"].split("_")[1]
    # As it was written: a config is taken to other machines.
    assert read.json()["backfill"]["storage"] == [{"type": "parquet", "path": "out"}]

    changed = operator.put(f"{CONFIGS}/kept", json=document("kept", record_types=["like"]))
    assert (changed.status_code, changed.headers["etag"] != made.headers["etag"]) == (200, True)
    late = operator.put(f"{CONFIGS}/kept", json=document("kept"), headers={"If-Match": made.headers["etag"]})
    assert (late.status_code, late.json()["type"]) == (412, "urn:skyfill:problem:config-changed")
    right = {"If-Match": f'"other", {changed.headers["etag"]}'}
    assert operator.put(f"{CONFIGS}/kept", json=document("kept"), headers=right).status_code == 200
    assert operator.put(f"{CONFIGS}/new", json=document()).status_code == 201
    assert operator.put(f"{CONFIGS}/none", json=document(), headers={"If-Match": "*"}).status_code == 412

    started = operator.post(
        "/api/backfill/start", json={"config": "kept", "overrides": {"processing": {"max_retries": 0}}}
    )
    assert started.status_code == 202, started.text
    assert started.json()["job_id"].startswith("kept-")

    assert operator.delete(f"{CONFIGS}/kept", headers={"If-Match": '"x"'}).status_code == 412
    assert operator.delete(f"{CONFIGS}/kept").status_code == 204
    assert [
        answer.status_code for answer in (viewer.get(f"{CONFIGS}/kept"), operator.delete(f"{CONFIGS}/kept"))
    ] == [
        404,
        404,
    ]
    assert operator.post("/api/backfill/start", json={"config": "kept"}).status_code == 404


def test_a_config_is_exported_as_the_file_that_start_takes(server: ApiServer) -> None:
    operator, viewer = server.client("operator"), server.client("viewer")
    webhook = {"url": "https://example.com/hook", "secret": "${env:HOOK_SECRET}"}
    said = document(
        "exported", scope={"deny": {"domains": ["example.com"]}}, monitoring={"webhooks": [webhook]}
    )
    assert operator.put(f"{CONFIGS}/exported", json=said).status_code == 201
    answer = viewer.get(f"{CONFIGS}/exported", headers={"Accept": "application/yaml"})
    assert answer.headers["content-type"].startswith("application/yaml")
    assert answer.headers["etag"] == viewer.get(f"{CONFIGS}/exported").headers["etag"]
    assert yaml.safe_load(answer.text) == said  # nothing but what was written
    kept = viewer.get(f"{CONFIGS}/exported").json()["backfill"]
    assert load_document(answer.text).model_dump(mode="json") == kept
    for accept, media_type in (
        ("text/html, application/yaml;q=0.9", "application/yaml"),
        ("*/*", "application/json"),
        ("application/json, application/yaml", "application/json"),
    ):
        found = viewer.get(f"{CONFIGS}/exported", headers={"Accept": accept}).headers["content-type"]
        assert found.startswith(media_type)
    assert viewer.get(f"{CONFIGS}/exported", headers={"Accept": "text/html"}).status_code == 406


def test_configs_are_listed_in_pages(server: ApiServer) -> None:
    operator = server.client("operator")
    names = [f"page-{number}" for number in range(5)]
    for name in reversed(names):
        assert operator.post(f"{CONFIGS}?name={name}", json=document()).status_code == 201
    found: list[str] = []
    params = {"limit": "2"}
    while True:
        page = server.client("viewer").get(CONFIGS, params=params).json()
        found += [one["name"] for one in page["configs"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert [name for name in found if name.startswith("page-")] == names
    assert found == sorted(found)


@pytest.mark.parametrize("name", ["a%2Fb", "-x", "x" * 101, "validate", "a b"])
def test_names_that_would_be_no_files_are_refused(server: ApiServer, name: str) -> None:
    answer = server.client("operator").put(f"{CONFIGS}/{name}", json=document())
    assert answer.status_code in (404, 422)


def test_a_document_is_checked_as_one_types(server: ApiServer) -> None:
    viewer = server.client("viewer")

    def checked(text: str) -> Any:
        headers = {"Content-Type": "application/yaml"}
        answer = viewer.post(f"{CONFIGS}/validate", content=text, headers=headers)
        assert answer.status_code == 200
        return answer.json()

    good = checked(yaml.safe_dump(document("typed")))
    assert (good["valid"], good["errors"]) == (True, [])
    assert good["document"]["backfill"]["processing"]["max_retries"] == 3
    wrong = checked("backfill:\n  nam: x\n")
    assert (wrong["valid"], wrong["document"]) == (False, None)
    [unknown] = [one for one in wrong["errors"] if one["key"] == "backfill.nam"]
    assert (unknown["line"], "did you mean `name`" in unknown["message"]) == (2, True)
    assert checked("backfill: [")["errors"][0]["line"] == 1
    outside = checked(yaml.safe_dump(document(storage={"type": "parquet", "path": "/var/lib"})))
    assert [one["key"] for one in outside["errors"]] == ["backfill.storage[0].path"]
    many = checked("backfill:\n  source: {type: inline, dids: [" + "1, " * 500 + "1]}\n")
    assert len(many["errors"]) == 100
