"""Who may do what. The endpoints are those of the OpenAPI document: one that is new can't be forgotten."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx
import pytest

from api.app import create_app
from api.auth import COOKIE
from schemas.settings import Settings
from schemas.tokens import ROLES, Role
from tests.api.server import ApiServer, document

OPEN = {"/healthz", "/readyz"}
OPERATIONS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")
UNSEEN = ["/openapi.json", "/docs", "/docs/begin.js", "/docs/swagger-ui.css"]
"""Not in the document, being it."""


class Endpoint(NamedTuple):
    """One operation, and the least role that may use it; None: anybody."""

    method: str
    path: str
    role: Role | None


def endpoints() -> list[Endpoint]:
    found = []
    for path, item in create_app(Settings()).openapi()["paths"].items():
        for method in OPERATIONS:
            if method in item:
                found.append(Endpoint(method.upper(), path, _role(item[method])))
    return found + [Endpoint("GET", path, "viewer") for path in UNSEEN]


def _role(operation: dict[str, Any]) -> Role | None:
    if not operation.get("security"):
        return None
    [[role]] = [required["token"] for required in operation["security"]]
    return role


ENDPOINTS = endpoints()


def ask(server: ApiServer, endpoint: Endpoint, token: str | None) -> httpx.Response:
    """A request that harms nothing, whoever may make it: it names things that there are not."""
    path = endpoint.path.format(job_id="no-such-job", name="no-such-config", token_id="0000000000")
    headers = {"Content-Type": "text/plain", **({"Authorization": f"Bearer {token}"} if token else {})}
    return server.nobody.request(endpoint.method, path, headers=headers)


def test_only_health_is_open_and_the_rest_names_its_role() -> None:
    assert {one.path for one in ENDPOINTS if one.role is None} == OPEN
    wanted = {
        ("GET", "/api/backfill/audit"): "admin",
        ("POST", "/api/backfill/tokens"): "admin",
        ("POST", "/api/backfill/start"): "operator",
        ("DELETE", "/api/backfill/jobs/{job_id}"): "operator",
        ("POST", "/api/backfill/plan"): "viewer",
        ("POST", "/api/backfill/configs/validate"): "viewer",
    }
    named = {(one.method, one.path): one.role for one in ENDPOINTS}
    assert {place: named[place] for place in wanted} == wanted
    # Whatever is not a plain reading takes an operator at the least, but for the two that change nothing.
    free = {"/api/backfill/plan", "/api/backfill/configs/validate"}
    assert not [
        one for one in ENDPOINTS if one.method != "GET" and one.role == "viewer" and one.path not in free
    ]


def test_every_endpoint_with_every_token(server: ApiServer) -> None:
    now = datetime.now(UTC)
    no_good = {
        "none": None,
        "no token at all": "let-me-in",
        "unknown": "skf_0123456789_" + "A" * 43,
        "wrong secret": server.tokens["admin"][:15] + "A" * 43,
        "revoked": server.board.token("admin", revoked_at=now)[0],
        "expired": server.board.token("admin", expires_at=now - timedelta(seconds=1))[0],
    }
    wrong = []
    for endpoint in ENDPOINTS:
        if endpoint.role is None:
            assert ask(server, endpoint, None).status_code == 200
            continue
        for name, token in no_good.items():
            answer = ask(server, endpoint, token)
            challenged = answer.headers.get("www-authenticate", "").startswith("Bearer")
            if answer.status_code != 401 or not challenged or not _is_problem(answer):
                wrong.append((endpoint, name, answer.status_code))
        for role in ROLES:
            answer = ask(server, endpoint, server.tokens[role])
            may = ROLES.index(role) >= ROLES.index(endpoint.role)
            if may == (answer.status_code in (401, 403)) or answer.status_code >= 500:
                wrong.append((endpoint, role, answer.status_code, answer.text))
            if not may:
                assert _is_problem(answer)
    assert not wrong


def _is_problem(answer: httpx.Response) -> bool:
    said = answer.json()
    return (
        answer.headers["content-type"] == "application/problem+json"
        and said["status"] == answer.status_code
        and said["request_id"] == answer.headers["x-request-id"]
        and said["type"].startswith("urn:skyfill:problem:")
    )


def test_a_token_that_is_revoked_is_refused_at_its_next_request(server: ApiServer) -> None:
    admin = server.client("admin")
    made = admin.post("/api/backfill/tokens", json={"name": "for a moment", "role": "viewer"})
    assert made.status_code == 201, made.text
    assert made.json()["good"] is True
    headers = {"Authorization": f"Bearer {made.json()['token']}"}
    assert httpx.get(f"{server.url}/api/backfill/jobs", headers=headers).status_code == 200
    assert admin.delete(f"/api/backfill/tokens/{made.json()['id']}").status_code == 204
    assert httpx.get(f"{server.url}/api/backfill/jobs", headers=headers).status_code == 401
    listed = {one["id"]: one for one in admin.get("/api/backfill/tokens?limit=500").json()["tokens"]}
    assert listed[made.json()["id"]]["good"] is False
    assert "hash" not in json.dumps(listed)


def test_an_admin_cannot_lock_himself_out(server: ApiServer) -> None:
    own = server.tokens["admin"].split("_")[1]
    assert server.client("admin").delete(f"/api/backfill/tokens/{own}").status_code == 409


def test_a_token_in_a_cookie_changes_things_from_this_site_alone(server: ApiServer) -> None:
    cookies = {COOKIE: server.tokens["operator"]}
    start = f"{server.url}/api/backfill/start"
    assert httpx.get(f"{server.url}/api/backfill/jobs", cookies=cookies).status_code == 200

    def post(**headers: str) -> int:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(start, cookies=cookies, json=document("by-cookie"), headers=headers).status_code

    assert post() == 403
    assert post(sec_fetch_site="cross-site") == 403
    assert post(sec_fetch_site="same-site") == 403
    assert post(sec_fetch_site="none") == 403
    assert post(origin="https://elsewhere.example") == 403
    assert post(origin=server.url.replace("http:", "https:")) == 403
    assert post(origin="null") == 403
    assert post(sec_fetch_site="cross-site", origin=server.url) == 403
    assert post(sec_fetch_site="same-origin") == 202
    assert post(origin=server.url) == 202


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api/backfill", "/api/backfill/../../etc/passwd", "/docs/../secrets"]
)
def test_what_is_not_there_is_a_problem_like_others(server: ApiServer, path: str) -> None:
    answer = server.client("viewer").get(path)
    assert answer.status_code == 404
    assert _is_problem(answer)


def test_every_answer_has_the_security_headers(server: ApiServer) -> None:
    viewer = server.client("viewer")
    answers = [
        viewer.get("/healthz"),
        viewer.get("/api/backfill/jobs"),
        viewer.get("/nowhere"),
        viewer.post("/api/backfill/jobs"),
        httpx.get(f"{server.url}/api/backfill/jobs"),
        viewer.get("/docs"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 405, 401, 200]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
    assert "allow" in answers[3].headers
