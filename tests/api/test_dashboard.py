"""Somebody with a browser: starts a backfill, watches it, cancels another, replays what failed.

One Chromium, one deployment. Every page is looked at for errors in its console and requests to anybody else.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from local.network.faults import ServerError
from tests.api.dashboard_site import Site, dashboard_site

CHROMIUM = shutil.which("chromium")
ACCOUNTS, HOSTS, BROKEN = 12, 3, (1, 4)
PATIENCE_MS = 60_000
EVIL = "<script>document.title='taken over'</script>\"'><img src=x onerror=alert(1)>"
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"),
        reason="there is no Chromium here; Debian's package is called chromium",
    ),
    pytest.mark.timeout(240),
]


@pytest.fixture(scope="module")
def site(kafka: str, dynamodb: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("dashboard")
    faults = [ServerError(account=number, method="getRepo") for number in BROKEN]
    prefix = f"t{os.getpid()}d."
    with dashboard_site(
        kafka, dynamodb, prefix, folder, accounts=ACCOUNTS, hosts=HOSTS, faults=faults
    ) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "in CI there has to be a Chromium; .ci/run installs it"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


class Watched:
    """A browser's window whose console and requests are listened to."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context, self.page, self._url = context, context.new_page(), url
        self.page.set_default_timeout(PATIENCE_MS)
        self.wrong: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("request", self._request)
        self.expected: set[int] = set()
        """Statuses that a test causes on purpose: Chromium tells of them in the console."""

    def _console(self, message: object) -> None:
        text, kind = str(getattr(message, "text", "")), getattr(message, "type", "")
        found = re.search(r"status of (\d+)", text)
        if kind in ("error", "warning") and not (found and int(found[1]) in self.expected):
            self.wrong.append(f"console: {text}")

    def _request(self, request: object) -> None:
        asked = str(getattr(request, "url", ""))
        if urlsplit(asked).netloc != urlsplit(self._url).netloc:
            self.wrong.append(f"request to {asked}")


@pytest.fixture
def window(site: Site, browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(base_url=site.server.url, viewport={"width": 1280, "height": 900})
    watched = Watched(context, site.server.url)
    yield watched
    context.close()
    assert watched.wrong == []


def logged_in(window: Watched, site: Site, role: str = "operator") -> Page:
    """By the link that `skyfill up` prints."""
    window.page.goto(f"/login#{site.server.tokens[role]}")  # type: ignore[index]
    expect(window.page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
    assert "skf_" not in window.page.url
    return window.page


def test_a_backfill_is_started_from_the_form_and_watched_until_its_failures_are_replayed(
    site: Site, window: Watched
) -> None:
    page = logged_in(window, site)
    page.get_by_role("link", name="Start a backfill").click()
    expect(page.get_by_role("heading", name="Start a backfill")).to_be_visible()

    # A mistake first: it is told at its field while one types.
    page.get_by_label("Name", exact=True).fill("not a name!")
    name = page.get_by_label("Name", exact=True)
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#f-name-wrong")).to_contain_text("does not fit")
    name.fill("by-hand")
    expect(name).not_to_have_attribute("aria-invalid", "true")
    page.get_by_label("Accounts", exact=True).fill("\n".join(site.network.dids))
    page.get_by_label("Folder").fill("by-hand")
    expect(page.locator("#verdict")).to_have_text("This can be started.")

    # The same as YAML and back: nothing is lost.
    page.get_by_role("button", name="YAML").click()
    document = page.get_by_label("Document")
    expect(document).to_have_value(re.compile("name: by-hand"))
    document.fill(document.input_value().replace("storage:", "processing: {max_retries: 0}\nstorage:", 1))
    window.expected.add(422)
    page.get_by_role("button", name="Form").click()
    expect(page.get_by_role("alert")).to_contain_text("can’t be started")
    page.get_by_label("Document").fill(
        document.input_value().replace("processing: {max_retries: 0}\n", "  processing: {max_retries: 0}\n")
    )
    page.get_by_role("button", name="Form").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("by-hand")
    page.get_by_text("How it is fetched").click()
    expect(page.get_by_label("Further attempts")).to_have_value("0")

    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#plan")).to_contain_text(f"{ACCOUNTS} counted")
    page.get_by_role("button", name="Start", exact=True).click()

    # The job's page follows by itself, without being loaded again.
    expect(page.get_by_role("status").filter(has_text="on its way")).to_be_visible()
    page.evaluate("window.kept = true")
    expect(page.locator("[data-part=state]")).to_have_text("partial success", timeout=PATIENCE_MS)
    job_id = page.get_by_role("heading", level=1).inner_text()
    assert job_id.startswith("by-hand-")
    done = site.status(job_id)
    assert (done.totals.completed, done.totals.failed) == (ACCOUNTS - len(BROKEN), len(BROKEN))
    expect(page.locator("[data-part=progress]")).to_contain_text(f"{ACCOUNTS} of {ACCOUNTS}")
    expect(page.locator("[data-part=hosts] tr")).to_have_count(HOSTS)
    expect(page.locator("[data-part=errors]")).to_contain_text("network error")
    letters = page.locator("[data-part=letters]")
    expect(letters.get_by_role("checkbox")).to_have_count(len(BROKEN))

    # One of them first, then all: the fault is gone meanwhile.
    for number in BROKEN:
        site.run(site.network.withdraw(ServerError(account=number, method="getRepo")))
    letters.get_by_role("checkbox").first.check()
    assert page.evaluate("window.kept"), "the page was loaded again"
    letters.get_by_role("button", name="Replay the chosen ones").click()
    expect(page.get_by_role("status").filter(has_text="are being replayed")).to_be_visible()
    expect(page.locator(".key")).to_contain_text(f"completed {ACCOUNTS - 1}")
    page.get_by_role("button", name="Replay all that failed").click()
    expect(page.locator("[data-part=state]")).to_have_text("complete", timeout=PATIENCE_MS)
    assert site.status(job_id, lambda job: job.status == "complete").totals.completed == ACCOUNTS
