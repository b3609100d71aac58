"""What is done on pages, without a browser: who is let in, who may do what, and nothing for another site."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from api.dashboard.visits import inside
from schemas.job_status import JobStatus
from tests.api.dashboard_reader import EVIL, NOW, SAME, Markup, etag_in, job, somebody, text_of
from tests.api.server import ApiServer


@pytest.fixture
def visitor(server: ApiServer) -> Iterator[httpx.Client]:
    with somebody(server, "operator") as client:
        yield client


def test_logging_in_keeps_the_token_where_no_script_and_no_other_site_gets_at_it(server: ApiServer) -> None:
    with httpx.Client(base_url=server.url, headers=SAME, timeout=30) as client:
        asked = client.get("/jobs/mine?sort=-failed")
        assert (asked.status_code, asked.headers["location"]) == (
            303,
            "/login?next=%2Fjobs%2Fmine%3Fsort%3D-failed",
        )
        wrong = client.post("/login", data={"token": "skf_0123456789_" + "a" * 43, "next": "/lag"})
        assert wrong.status_code == 401
        assert "not known, or no longer good" in wrong.text
        assert client.post("/login", data={"token": "päss"}).status_code == 422
        assert "skyfill_token" not in client.cookies

        token = server.tokens["viewer"]
        done = client.post("/login", data={"token": f" {token} ", "next": "/lag"})
        assert (done.status_code, done.headers["location"]) == (303, "/lag")
        flags = {part.strip().lower() for part in done.headers["set-cookie"].split(";")}
        assert {"httponly", "samesite=strict", "path=/"} <= flags
        assert "secure" not in flags, "over plain http the browser would not send it back"
        assert "Lag" in text_of(client.get("/lag"))

        behind = {"X-Forwarded-Proto": "https"}  # a proxy on this machine, which is believed
        assert (
            "secure"
            in client.post("/login", data={"token": token}, headers=behind).headers["set-cookie"].lower()
        )
        out = client.post("/logout")
        assert out.headers["location"] == "/login"
        assert client.get("/").headers["location"] == "/login"


def test_a_revoked_token_leads_back_to_the_login(server: ApiServer) -> None:
    text, token = server.board.token("viewer")
    with httpx.Client(base_url=server.url, cookies={"skyfill_token": text}, timeout=30) as client:
        assert client.get("/").status_code == 200
        server.board.write(server.board.names.tokens, token.id, token.model_copy(update={"revoked_at": NOW}))
        gone = client.get("/")
        assert (gone.status_code, gone.headers["location"]) == (303, "/login")
        assert 'skyfill_token=""' in gone.headers["set-cookie"]


@pytest.mark.parametrize(
    "address",
    ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "evil", "", "/a\nb"],
)
def test_nobody_is_sent_elsewhere(address: str) -> None:
    assert inside(address) == "/"
    assert inside("/jobs/a?b=c") == "/jobs/a?b=c"


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {}]
)
def test_nothing_is_done_for_another_site(server: ApiServer, headers: dict[str, str]) -> None:
    with httpx.Client(base_url=server.url, cookies={"skyfill_token": server.tokens["operator"]}) as client:
        for path in ("/start", "/jobs/any/cancel", "/logout", "/login", "/theme"):
            answer = client.post(path, data={"token": "x"}, headers=headers)
            assert answer.status_code == 403, path
            assert "did not come from a page of this dashboard" in answer.text
            assert "set-cookie" not in answer.headers
        # A browser that tells no Sec-Fetch-Site, as for a host without TLS, tells where a form stood.
        assert client.post("/theme", data={}, headers={"Origin": server.url}).status_code == 303


def test_what_a_token_may_not_do_has_no_button(server: ApiServer) -> None:
    job(server, "roles-1")
    with somebody(server, "viewer") as viewer, somebody(server, "operator") as operator:
        for path in ("/", "/jobs/roles-1", "/start"):
            forbidden = ('action="/jobs/roles-1/cancel"', 'value="start"', 'class="button first"')
            assert not [word for word in forbidden if word in text_of(viewer.get(path))]
        assert 'action="/jobs/roles-1/cancel"' in text_of(operator.get("/jobs/roles-1"))
        assert 'value="start"' in text_of(operator.get("/start"))
        assert 'href="/audit"' not in text_of(operator.get("/"))
        refused = viewer.post("/start", data={"do": "start", "view": "yaml", "document": "backfill: {}"})
        assert refused.status_code in (403, 422)
        assert "takes the role operator" in refused.text


def test_a_form_is_kept_and_its_mistakes_stand_at_their_fields(visitor: httpx.Client) -> None:
    filled = {
        "view": "form",
        "do": "start",
        "name": "not a name!",
        "source": "inline",
        "inline.dids": "did:plc:z72i7hdynmk6r22z27h6tvur",
        "storage": "parquet",
        "parquet.path": "out",
        "key": "abc",
    }
    answer = visitor.post("/start", data=filled)
    assert answer.status_code == 422
    name = next(field for field in Markup(answer.text).all("input") if field.get("name") == "name")
    assert (name["value"], name["aria-invalid"]) == ("not a name!", "true")
    assert "did:plc:z72i7hdynmk6r22z27h6tvur" in answer.text

    started = visitor.post("/start", data=filled | {"name": "kept"})
    assert started.status_code == 303, started.text
    again = visitor.post("/start", data=filled | {"name": "kept"})
    assert again.headers["location"] == started.headers["location"], "a second click is no second job"
    assert re.fullmatch(r"/jobs/kept-[0-9a-f]{10}\?done=started", started.headers["location"])
    page = text_of(visitor.get(started.headers["location"]))
    assert "The backfill is on its way." in page
    assert ">queued<" in page
    other = visitor.post("/start", data=filled | {"name": "kept", "record_types": "post"})
    assert other.headers["location"] != started.headers["location"]


def test_what_is_no_form_is_refused(visitor: httpx.Client) -> None:
    many = "&".join(f"a{n}=1" for n in range(600))
    for body in (b"\xff\xfe", many.encode()):
        answer = visitor.post(
            "/start", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert answer.status_code == 422, answer.text
        assert "no form" in answer.text
    for size in (2**20 + 1, 4 * 2**20):
        large = visitor.post("/start", data={"document": "x" * size, "view": "yaml"})
        assert large.status_code == 413
        assert "may have" in large.text


def test_a_text_that_is_no_document_stays_as_it_is(visitor: httpx.Client) -> None:
    text = "backfill:\n  - [\n"
    answer = visitor.post("/start", data={"view": "yaml", "do": "form", "document": text})
    assert answer.status_code == 422
    assert "can’t be shown as a form" in answer.text or "can&#39;t be shown as a form" in answer.text
    assert "- [" in answer.text


def test_the_theme_is_switched_without_script(visitor: httpx.Client) -> None:
    answer = visitor.post("/theme", data={"theme": "light", "next": "/lag"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/lag")
    assert 'data-theme="dark"' in text_of(visitor.get("/lag"))
    del visitor.cookies["skyfill_theme"]
    visitor.cookies.set("skyfill_theme", "evil")
    assert "data-theme" not in text_of(visitor.get("/lag"))


def test_a_configuration_is_stored_changed_started_from_and_deleted(
    server: ApiServer, visitor: httpx.Client
) -> None:
    filled = {
        "view": "form",
        "do": "store",
        "name": "kept-config",
        "source": "inline",
        "inline.dids": "did:plc:z72i7hdynmk6r22z27h6tvur",
        "storage": "parquet",
        "parquet.path": "out",
    }
    stored = visitor.post("/start", data=filled)
    assert (stored.status_code, stored.headers["location"]) == (303, "/configs/kept-config?done=stored")
    assert 'href="/configs/kept-config"' in text_of(visitor.get("/configs"))
    page = text_of(visitor.get("/configs/kept-config"))
    etag = etag_in(page)

    changed = (
        "backfill:\n  name: kept-config\n  source: {type: relay}\n  storage: {type: parquet, path: out}\n"
    )
    wrong = visitor.post("/configs/kept-config", data={"document": changed + "  typo: 1\n", "etag": etag})
    assert wrong.status_code == 422
    assert "line 5" in wrong.text
    assert "typo: 1" in wrong.text, "what was typed is still there"
    done = visitor.post("/configs/kept-config", data={"document": changed, "etag": etag})
    assert done.status_code == 303
    late = visitor.post("/configs/kept-config", data={"document": changed, "etag": etag})
    assert late.status_code == 412, "somebody has changed it meanwhile"
    assert "is not the version" in late.text

    started_from = text_of(visitor.get("/start?config=kept-config"))
    assert "batch_size" not in started_from, "what is as it is by default is not written out"
    form = Markup(started_from)
    chosen = [option["value"] for option in form.all("option") if "selected" in option]
    assert "relay" in chosen
    with somebody(server, "viewer") as viewer:
        assert 'class="danger"' not in text_of(viewer.get("/configs/kept-config"))
        assert viewer.post("/configs/kept-config/delete", data={}).status_code == 403
    etag = etag_in(text_of(visitor.get("/configs/kept-config")))
    gone = visitor.post("/configs/kept-config/delete", data={"etag": etag})
    assert gone.headers["location"] == "/configs?done=deleted"
    assert visitor.get("/configs/kept-config").status_code == 404


def test_an_admin_makes_a_token_sees_it_once_and_revokes_it(server: ApiServer) -> None:
    with somebody(server, "admin") as admin, somebody(server, "operator") as operator:
        assert operator.get("/tokens").status_code == 403
        assert admin.post("/tokens", data={"name": "x", "role": "viewer", "days": "soon"}).status_code == 422
        made = admin.post("/tokens", data={"name": EVIL[:60], "role": "viewer", "days": "7"})
        shown = re.search(r"skf_([0-9a-f]{10})_[A-Za-z0-9_-]{43}", text_of(made))
        assert shown
        listed = text_of(admin.get("/tokens"))
        assert shown[1] in listed
        assert shown[0] not in listed
        with httpx.Client(base_url=server.url, cookies={"skyfill_token": shown[0]}, timeout=30) as visitor:
            assert visitor.get("/").status_code == 200
            assert admin.post(f"/tokens/{shown[1]}/revoke").headers["location"] == "/tokens?done=revoked"
            assert visitor.get("/").status_code == 303


def test_an_action_of_a_page_is_in_the_audit_once_under_the_visitors_name(server: ApiServer) -> None:
    job(server, "audited-1", JobStatus(job_id="audited-1", status="processing", total=1, updated_at=NOW))
    with somebody(server, "admin") as admin:
        assert admin.post("/jobs/audited-1/pause").headers["location"] == "/jobs/audited-1?done=pause"
        assert "The job is being paused." in text_of(admin.get("/jobs/audited-1?done=pause"))
        assert admin.post("/jobs/audited-1/nonsense").status_code == 404
        assert admin.post("/jobs/audited-1/replay", data={}).status_code == 422
        admin.post("/start/check", data={"view": "yaml", "document": "nothing"})
        page = text_of(admin.get("/audit"))
        entries = [row for row in page.split("<tr>") if "audited-1" in row]
        assert len(entries) == 1
        assert "pause_job" in entries[0]
        assert "test admin" in entries[0]
        assert "127.0.0.1" in entries[0]
        assert "validate" not in page


def test_a_conflict_is_told_with_a_way_back(server: ApiServer, visitor: httpx.Client) -> None:
    job(server, "ended-1", JobStatus(job_id="ended-1", status="complete", updated_at=NOW))
    answer = visitor.post("/jobs/ended-1/pause")
    assert answer.status_code == 409
    assert "has ended (complete)" in answer.text
    assert 'href="/jobs/ended-1"' in answer.text
