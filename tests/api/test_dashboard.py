"""Somebody with a browser: starts a backfill, watches it, cancels another, replays what failed.

One Chromium, one deployment. Every window is watched for errors in its console and requests to anybody else.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    async_playwright,
    expect,
)

from local.network.faults import ServerError, Slow
from schemas.tokens import Role
from tests.api.dashboard_site import Site, dashboard_site

CHROMIUM = shutil.which("chromium")
ACCOUNTS, HOSTS, BROKEN = 12, 3, (1, 4)
PATIENCE_MS = 30_000
PHONE = {"width": 360, "height": 740}
PAGES = ("/", "/start", "/lag", "/performance", "/configs", "/jobs/{job}", "/jobs/{job}/letters")
ADMIN_PAGES = ("/tokens", "/audit")
expect.set_options(timeout=PATIENCE_MS)
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"),
        reason="there is no Chromium here; Debian's package is called chromium",
    ),
    pytest.mark.timeout(240),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(kafka: str, dynamodb: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("dashboard")
    faults = [ServerError(account=number, method="getRepo") for number in BROKEN]
    prefix = f"t{secrets.token_hex(4)}."
    async with dashboard_site(
        kafka, dynamodb, prefix, folder, accounts=ACCOUNTS, hosts=HOSTS, faults=faults
    ) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    assert CHROMIUM is not None, "in CI there has to be a Chromium; .ci/run installs it"
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        await chromium.close()


class Window:
    """A browser's window whose console and requests are listened to."""

    def __init__(self, context: BrowserContext, page: Page, site: Site) -> None:
        self.context, self.page, self._site = context, page, site
        self.wrong: list[str] = []
        self.caused: set[int] = set()
        """Statuses that a test causes on purpose: Chromium tells of them in the console."""
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", self._request)

    async def log_in(self, role: Role = "operator") -> Page:
        """By an address that logs in by itself."""
        await self.page.goto(f"/login#{self._site.server.tokens[role]}")
        await expect(self.page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
        assert "skf_" not in self.page.url
        return self.page

    def _console(self, message: ConsoleMessage) -> None:
        found = re.search(r"status of (\d+)", message.text)
        if message.type in ("error", "warning") and not (found and int(found[1]) in self.caused):
            self.wrong.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self._site.server.url).netloc:
            self.wrong.append(f"request to {request.url}")


@pytest_asyncio.fixture(loop_scope="module")
async def window(site: Site, browser: Browser) -> AsyncIterator[Window]:
    context = await browser.new_context(base_url=site.server.url, viewport={"width": 1280, "height": 900})
    watched = Window(context, await context.new_page(), site)
    yield watched
    await context.close()
    assert watched.wrong == []


async def test_a_backfill_is_started_from_the_form_and_watched_until_its_failures_are_replayed(
    site: Site, window: Window
) -> None:
    page = await window.log_in()
    await page.get_by_role("link", name="Start a backfill").click()
    await expect(page.get_by_role("heading", name="Start a backfill")).to_be_visible()

    # A mistake first: it is told at its field while one types.
    name = page.get_by_label("Name", exact=True)
    await name.fill("not a name!")
    await expect(name).to_have_attribute("aria-invalid", "true")
    await expect(page.locator("#f-name-wrong")).to_contain_text("does not fit")
    await name.fill("by-hand")
    await expect(name).not_to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Accounts", exact=True).fill("\n".join(site.network.dids))
    await page.get_by_label("Folder").fill("by-hand")
    await expect(page.locator("#verdict")).to_have_text("This can be started.")

    # The same as YAML and back: what the form has no field for is kept, and a mistake in it is told.
    await page.get_by_role("button", name="YAML").click()
    document = page.get_by_label("Document")
    await expect(document).to_have_value(re.compile("name: by-hand"))
    good = await document.input_value()
    await document.fill(good + "  nonsense: 1\n")
    await expect(page.locator("#mistakes")).to_contain_text("unknown key")
    await document.fill(good + "  processing: {max_retries: 0, batch_size: 77}\n")
    await page.get_by_role("button", name="Form").click()
    await expect(page.get_by_label("Name", exact=True)).to_have_value("by-hand")
    await page.get_by_text("How it is fetched").click()
    await expect(page.get_by_label("Further attempts")).to_have_value("0")
    await expect(page.locator("#preview")).to_contain_text("batch_size: 77")

    await page.get_by_role("button", name="Dry run").click()
    await expect(page.locator("#plan")).to_contain_text(f"{ACCOUNTS} counted")
    await page.get_by_role("button", name="Start", exact=True).click()

    # The job's page follows by itself, without being loaded again.
    await expect(page.get_by_text("The backfill is on its way.")).to_be_visible()
    await page.evaluate("window.kept = true")
    state = page.locator("[data-part=state]")
    await expect(state).to_have_text("partial success")
    job_id = await page.get_by_role("heading", level=1).inner_text()
    assert job_id.startswith("by-hand-")
    done = await site.status(job_id)
    assert (done.totals.completed, done.totals.failed) == (ACCOUNTS - len(BROKEN), len(BROKEN))
    await expect(page.locator("[data-part=progress]")).to_contain_text(f"{ACCOUNTS} of {ACCOUNTS}")
    await expect(page.locator("[data-part=hosts] tr")).to_have_count(HOSTS)
    await expect(page.locator("[data-part=errors]")).to_contain_text("502")
    letters = page.locator("[data-part=letters]")
    await expect(letters.get_by_role("checkbox")).to_have_count(len(BROKEN))
    assert await page.evaluate("window.kept"), "the page was loaded again"

    # One of them first, then all: the fault is gone meanwhile.
    for number in BROKEN:
        await site.network.withdraw(ServerError(account=number, method="getRepo"))
    await letters.get_by_role("checkbox").first.check()
    await letters.get_by_role("button", name="Replay the chosen ones").click()
    await expect(page.get_by_text("The dead letters are being replayed.")).to_be_visible()
    await expect(page.locator(".key")).to_contain_text(f"completed {ACCOUNTS - 1}")
    await page.get_by_role("button", name="Replay all that failed").click()
    await expect(state).to_have_text("complete")
    assert (await site.status(job_id, lambda job: job.status == "complete")).totals.completed == ACCOUNTS


async def test_another_one_is_cancelled_with_the_keyboard_alone(site: Site, window: Window) -> None:
    slow = [Slow(host=number, seconds=600) for number in range(HOSTS)]
    for fault in slow:
        await site.network.inject(fault)
    site.start("by-keys", site.network.dids)
    await site.status("by-keys", lambda job: job.total == ACCOUNTS)
    page = await window.log_in()

    async def tab_to(text: str) -> None:
        for _ in range(60):
            await page.keyboard.press("Tab")
            focused = await page.evaluate("document.activeElement.textContent.trim()")
            if focused == text:
                break
        else:
            raise AssertionError(f"{text!r} is not reached")
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"nobody sees that {text!r} has the focus"

    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
    await page.keyboard.press("Enter")
    await tab_to("by-keys")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="by-keys", level=1)).to_be_visible()
    await tab_to("Cancel…")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Cancel this job")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Cancel this job")).to_be_hidden()
    assert await page.evaluate("document.activeElement.id") == "do-cancel"
    await page.keyboard.press("Enter")
    await tab_to("Cancel this job")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("The job is being cancelled.")).to_be_visible()
    await expect(page.locator("[data-part=state]")).to_have_text("cancelled")
    await expect(page.get_by_role("button", name="Cancel…")).to_have_count(0)
    for fault in slow:
        await site.network.withdraw(fault)


async def test_everything_fits_a_phone_and_can_be_told_apart_light_and_dark(
    site: Site, window: Window
) -> None:
    site.start("by-phone", site.network.dids[:3])
    await site.status("by-phone")
    site.tell_pace("by-phone", [10, 40, 35, 60])
    page = await window.log_in("admin")
    grounds = set()
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for address in PAGES + ADMIN_PAGES:
            await page.set_viewport_size(PHONE)
            await page.goto(address.format(job="by-phone"))
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= PHONE["width"], f"{address} is {wide} wide"
            faint = await page.evaluate(FAINT)
            assert faint == [], f"{address}, {scheme}: {faint}"
        grounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
    await page.evaluate("document.querySelector('h1').style.color = '#777'")
    assert len(await page.evaluate(FAINT)) == 1, "faint text would be found"

    await page.goto("/jobs/by-phone")
    await expect(page.locator(".chart canvas")).to_have_count(3)
    await expect(page.locator("[data-series=records_per_second] output")).to_have_text("60")
    await page.get_by_role("button", name="Light/dark").click()
    assert await page.evaluate("document.documentElement.dataset.theme") == "light"
    await page.reload()
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") in grounds
    assert await page.evaluate("document.documentElement.dataset.theme") == "light"
    local = await page.locator("time").first.get_attribute("title")
    assert local is not None
    assert local.endswith("here; shown in UTC")


FAINT = """() => {
  // The contrast of each text with what is behind it, by WCAG 2: at least 4.5 to 1.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = new Set();
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgba(style.color)), light(behind(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.add(`${element.className || element.tagName}: ${contrast.toFixed(2)}`);
  }
  return [...found];
}"""
