"""The pages without a browser: nothing of others becomes markup, and all of it reads without any script.

Real server and broker; what other processes write is written by the test.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from api.dashboard.assets import Assets
from api.dashboard.render import Renderer
from local.java import JarCache
from schemas.backfill import Backfill
from schemas.deadletter import DeadLetter
from schemas.hosts import BucketState, HostState
from schemas.job_specs import JobSpec
from schemas.job_status import Counts, JobHost, JobStatus
from schemas.rates import HostRates, JobRates, RateWindow
from tests.api.dashboard_reader import EVIL, NOW, Markup, hosts, job, somebody, text_of
from tests.api.server import ApiServer, document, eventually


@pytest.fixture
def visitor(server: ApiServer) -> Iterator[httpx.Client]:
    with somebody(server, "operator") as client:
        yield client


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
        bare = api.get("/api/backfill/jobs/read-1/rates", params={"since": "0.5"})
        assert (bare.status_code, "write an instant" in bare.text) == (422, True)
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


def test_without_the_chart_library_there_are_figures(
    server: ApiServer,
    visitor: httpx.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assets = Assets(JarCache(tmp_path, repositories={"nowhere": "http://127.0.0.1:9/"}))

    async def loaded_in_vain() -> None:
        loading = asyncio.create_task(assets.load_charts())
        while "charts are shown as tables" not in caplog.text:
            assert not loading.done()
            await asyncio.sleep(0.05)
        loading.cancel()

    asyncio.run(loaded_in_vain())
    job(server, "chartless-1")
    monkeypatch.setattr(server.app.state.dashboard, "renderer", Renderer(assets))
    page = text_of(visitor.get("/jobs/chartless-1"))
    assert "uplot" not in page.lower()
    assert '<details id="pace-figures" open>' in page


def test_pages_answer_within_a_budget_of_their_own_token(server: ApiServer, visitor: httpx.Client) -> None:
    job(server, "counted-1")
    left = [int(visitor.get("/jobs/counted-1").headers["RateLimit-Remaining"]) for _ in range(2)]
    assert left[0] - left[1] == 1, "what a page asks of the API itself is not counted again"


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
