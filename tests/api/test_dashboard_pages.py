"""The pages without a browser: who may see and do what, that nothing of others becomes markup, and that all
of it reads without any script. Real server and broker; what other processes write is written by the test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from api.dashboard.assets import Assets
from api.dashboard.visits import inside
from local.java import JarCache
from schemas.backfill import Backfill
from schemas.deadletter import DeadLetter
from schemas.hosts import BucketState, HostState
from schemas.job_specs import JobSpec
from schemas.job_status import Counts, ErrorSample, ErrorSummary, HistoryEntry, JobHost, JobStatus
from schemas.rates import HostRates, JobRates, RateWindow
from schemas.tokens import Role
from tests.api.server import ApiServer, document, eventually

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
NOW = datetime.now(UTC)
SAME = {"Sec-Fetch-Site": "same-origin"}


class Markup(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.ids: list[str] = []
        self._in: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self._in = tag if tag in ("script", "style") else None
        if name := found.get("id"):
            self.ids.append(name)

    def handle_data(self, data: str) -> None:
        if self._in is not None:
            self.inline += data.strip()

    def handle_endtag(self, tag: str) -> None:
        self._in = None

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def visitor(server: ApiServer) -> Iterator[httpx.Client]:
    with somebody(server, "operator") as client:
        yield client


def somebody(server: ApiServer, role: Role) -> httpx.Client:
    """Somebody who is logged in."""
    return httpx.Client(
        base_url=server.url, cookies={"skyfill_token": server.tokens[role]}, headers=SAME, timeout=30
    )


def job(server: ApiServer, job_id: str, status: JobStatus | None = None) -> JobStatus:
    """A job whose every text comes from somebody evil."""
    board = server.board
    told = status or JobStatus(
        job_id=job_id,
        name=EVIL,
        status="processing",
        detail=EVIL,
        total=100,
        totals=Counts(
            completed=60,
            unavailable=5,
            failed=3,
            records=12_345,
            bytes=10**9,
            by_type={EVIL: 7},
            unavailable_by={EVIL: 5},
            failed_by={"network_error": 3},
            dropped={EVIL: 1},
            errors={"network_error": 9},
        ),
        errors={
            "network_error": ErrorSummary(
                retryable=6,
                permanent=3,
                samples=[ErrorSample(reason=EVIL, detail=EVIL, host=EVIL, did=EVIL, at=NOW)],
            )
        },
        history=[HistoryEntry(at=NOW, event=EVIL, detail=EVIL)],
        submitted_at=NOW,
        started_at=NOW,
        updated_at=NOW,
    )
    board.write(board.names.job_status, job_id, told)
    return told


def hosts(server: ApiServer, job_id: str, number: int) -> list[str]:
    """So many hosts of a job; each has as many accounts as its number."""
    board, names = server.board, []
    for place in range(1, number + 1):
        name = f"https://pds{place:02}.example"
        part = JobHost(job_id=job_id, host=name, planned=place, counts=Counts(completed=place, records=place))
        board.write(board.names.job_hosts, f"{job_id} {name}", part, by=job_id)
        names.append(name)
    return names


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.text


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


def test_nothing_of_others_becomes_markup(server: ApiServer, visitor: httpx.Client) -> None:
    job(server, "evil-1")
    board = server.board
    board.write(
        board.names.job_hosts,
        f"evil-1 {EVIL}",
        JobHost(job_id="evil-1", host=EVIL, planned=1, counts=Counts()),
        by="evil-1",
    )
    state = HostState(origin=EVIL, counted_since=NOW, updated_at=NOW, given_up=[EVIL])
    board.write(board.names.hosts, EVIL, state)
    spec = {**document("evil")["backfill"], "storage": {"type": "parquet", "path": EVIL}}
    backfill = Backfill.model_validate(spec)
    board.write(
        board.names.job_specs, "evil-1", JobSpec(job_id="evil-1", backfill=backfill, submitted_at=NOW)
    )

    pages = ["/", f"/?name={EVIL}", "/jobs/evil-1", "/start?job=evil-1", "/performance", "/jobs/nobody<b>"]
    pages += [f"/login?next=/{EVIL}", f"/jobs/evil-1?sort={EVIL}"]
    for path in pages:
        answer = visitor.get(path)
        markup = Markup(answer.text)
        assert markup.inline == "", path
        assert not markup.all("img"), path
        assert all(str(script["src"]).startswith("/static/") for script in markup.all("script")), path
        assert not [name for _, found in markup.tags for name in found if name.startswith("on")], path
        assert not [found for _, found in markup.tags if "style" in found], path
    shown = text_of(visitor.get("/jobs/evil-1"))
    assert shown.count("&lt;script&gt;") >= 8, "all of it is shown, as text"


def test_every_page_says_that_nothing_else_may_be_loaded(server: ApiServer, visitor: httpx.Client) -> None:
    for path in ("/", "/login", "/start", "/lag", "/performance", "/jobs/none"):
        policy = visitor.get(path).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


def test_pages_are_made_so_that_everybody_can_use_them(server: ApiServer, visitor: httpx.Client) -> None:
    job(server, "usable-1")
    hosts(server, "usable-1", 2)
    for path in ("/", "/login", "/start", "/lag", "/performance", "/jobs/usable-1"):
        markup = Markup(visitor.get(path).text)
        assert len(markup.all("h1")) == 1, path
        assert markup.all("html")[0].get("lang") == "en"
        assert len(markup.ids) == len(set(markup.ids)), f"{path}: {sorted(markup.ids)}"
        labelled = {label.get("for") for label in markup.all("label")}
        for kind in ("input", "select", "textarea"):
            for field in markup.all(kind):
                named = field.get("id") in labelled or "aria-label" in field
                inside_label = field.get("type") in ("checkbox", "radio")
                hidden = field.get("type") == "hidden" or "hidden" in field
                assert named or inside_label or hidden, f"{path}: {field}"
        assert len(markup.all("caption")) == len(markup.all("table")), path
        assert all("scope" in heading for heading in markup.all("th")), path


def test_a_job_reads_without_any_script(server: ApiServer, visitor: httpx.Client) -> None:
    told = job(server, "read-1")
    board = server.board
    bucket = BucketState(kinds=["getRepo"], limit=3000, remaining=600, resets_at=NOW, reset_mark=0)
    open_ = HostState(
        origin="https://pds02.example",
        buckets=[bucket],
        breaker="open",
        retry_at=NOW,
        counted_since=NOW,
        updated_at=NOW,
    )
    hosts(server, "read-1", 2)
    board.write(board.names.hosts, open_.origin, open_)
    window = RateWindow(
        seconds=60,
        covered_seconds=60,
        repositories=600,
        repositories_per_second=10,
        records_per_second=1234.5,
        hosts={"https://pds01.example": HostRates(records_per_second=77)},
    )
    board.write(
        board.names.rates, "read-1", JobRates(job_id="read-1", windows=[window], updated_at=datetime.now(UTC))
    )
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {server.tokens['viewer']}"}
    ) as api:
        points = eventually(lambda: api.get("/api/backfill/jobs/read-1/rates").json()["points"]["at"])
        assert api.get("/api/backfill/jobs/nobody/rates").status_code == 404
        later = {"since": datetime.fromtimestamp(points[-1] + 1, UTC).isoformat()}
        assert api.get("/api/backfill/jobs/read-1/rates", params=later).json()["points"]["at"] == []

    page = text_of(visitor.get("/jobs/read-1"))
    shown = re.sub(r"<[^>]+>|\s+", " ", page)
    assert "60 completed, 5 unavailable, 3 failed" in page, "the bar says in words what it shows"
    assert f"{told.totals.records:,}" in shown
    assert "1.0 GB" in shown
    assert "1,234" in shown or "1,235" in shown
    assert "2,400 of 3,000" in shown
    assert ">open<" in page
    assert "unknown" in shown, "no worker has told of the other host"


def test_hosts_are_sorted_and_paged(server: ApiServer, visitor: httpx.Client) -> None:
    job(server, "many-1")
    names = hosts(server, "many-1", 30)

    def shown(query: str) -> list[str]:
        return re.findall(
            r'<th scope="row">(https://pds\d+\.example)</th>', text_of(visitor.get(f"/jobs/many-1{query}"))
        )

    largest = sorted(names, reverse=True)
    assert shown("") == largest[:25]
    assert shown("?page=2") == largest[25:]
    assert shown("?sort=host") == names[:25]
    assert shown("?sort=records&page=2") == names[25:]
    assert shown("?sort=nonsense&page=99") == largest[25:]
    page = text_of(visitor.get("/jobs/many-1?sort=host"))
    assert 'aria-sort="ascending"' in page
    assert 'href="/jobs/many-1?sort=host&amp;page=2#hosts"' in page


def test_the_live_part_brings_letters_only_when_something_has_failed_since(
    server: ApiServer, visitor: httpx.Client
) -> None:
    job(server, "live-1")
    whole = text_of(visitor.get("/jobs/live-1"))
    seen = Markup(whole).all("main")[0]["data-seen"]
    assert 'data-part="letters"' in whole
    assert 'data-part="letters"' not in text_of(visitor.get(f"/jobs/live-1?live={seen}"))
    assert 'data-part="letters"' in text_of(visitor.get("/jobs/live-1?live=1-0"))


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


def test_files_are_kept_for_ever_under_an_address_that_changes(
    server: ApiServer, visitor: httpx.Client
) -> None:
    eventually(lambda: visitor.get("/static/uplot/uPlot.iife.min.js").status_code == 200)
    page = text_of(visitor.get("/login"))
    address = re.search(r'href="(/static/app\.css\?v=[0-9a-f]{12})"', page)
    assert address
    style = visitor.get(address[1])
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in style.headers["cache-control"]
    assert style.headers["x-content-type-options"] == "nosniff"
    assert visitor.get("/static/app.css?v=0").headers["cache-control"] == "no-cache"
    for path in ("/static/../app.py", "/static/%2e%2e/render.py", "/static/uplot/package.json", "/static/"):
        assert visitor.get(path).status_code == 404
    assert "uPlot" in visitor.get("/static/uplot/uPlot.iife.min.js").text


async def test_without_the_chart_library_there_are_figures(tmp_path: Path) -> None:
    nowhere = {"nowhere": "http://127.0.0.1:9/"}
    assets = Assets(JarCache(tmp_path, repositories=nowhere))
    with pytest.raises(KeyError):
        assets.url("uplot/uPlot.iife.min.js")
    assert assets.charts is False


def test_the_theme_is_switched_without_script(visitor: httpx.Client) -> None:
    answer = visitor.post("/theme", data={"theme": "light", "next": "/lag"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/lag")
    assert 'data-theme="dark"' in text_of(visitor.get("/lag"))
    del visitor.cookies["skyfill_theme"]
    visitor.cookies.set("skyfill_theme", "evil")
    assert "data-theme" not in text_of(visitor.get("/lag"))


def test_pages_answer_within_a_budget_of_their_own_token(server: ApiServer, visitor: httpx.Client) -> None:
    job(server, "counted-1")
    left = [int(visitor.get("/jobs/counted-1").headers["RateLimit-Remaining"]) for _ in range(2)]
    assert left[0] - left[1] == 1, "what a page asks of the API itself is not counted again"


def etag_in(page: str) -> str:
    """The version that a form was made from."""
    return str(next(field["value"] for field in Markup(page).all("input") if field.get("name") == "etag"))


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

    form = Markup(text_of(visitor.get("/start?config=kept-config")))
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


def test_letters_are_listed_and_chosen_by_stage(server: ApiServer, visitor: httpx.Client) -> None:
    began = datetime.fromtimestamp(0, UTC)
    job(
        server, "letters-1", JobStatus(job_id="letters-1", status="error", submitted_at=began, updated_at=NOW)
    )
    board = server.board
    for place, stage in enumerate(("fetch", "record")):
        letter = DeadLetter.model_validate(
            {
                "stage": stage,
                "error_type": "fetch_failed",
                "reason": f"Reason{place}",
                "detail": EVIL,
                "job_id": "letters-1",
                "did": f"did:plc:{place}",
                "at": NOW,
            }
        )
        board.write(board.names.deadletter, f"did:plc:{place}", letter)
    page = text_of(visitor.get("/jobs/letters-1/letters"))
    assert (page.count("Reason0"), page.count("Reason1")) == (1, 1)
    assert page.count('name="letters"') == 1, "a broken record is not fetched again"
    assert "one record is broken" in page
    assert "<script>alert" not in page
    only = text_of(visitor.get("/jobs/letters-1/letters?stage=record"))
    assert (only.count("Reason0"), only.count("Reason1")) == (0, 1)
    nothing = text_of(visitor.get("/jobs/letters-1/letters?reason=Nothing"))
    assert "Nothing was given up." in nothing
