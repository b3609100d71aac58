"""Makes the pictures of the dashboard in docs/img, with a deployment of its own: python -m docs.screenshots

Real processes on a simulated network of a few hundred accounts; it takes about four minutes. Needs Chromium.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from local.kafka import EmbeddedKafka
from local.network.faults import Corrupted, Fault, HostDown, RateLimited, ServerError, Slow, Unavailable
from tests.api.dashboard_site import Site, dashboard_site
from tests.conftest import settle_coordinators

IMAGES = Path(__file__).with_name("img")
ACCOUNTS, HOSTS = 360, 6
SLOW, LIMITED, DOWN = 1, 2, 5
WIDE, PHONE = {"width": 1180, "height": 860}, {"width": 390, "height": 844}
FAULTS: list[Fault] = [
    Slow(host=SLOW, seconds=2.5),
    RateLimited(host=LIMITED, limit=60, window=60),
    *(ServerError(account=number, method="getRepo") for number in range(0, 60, 20)),
    *(Corrupted(account=number) for number in (7, 41)),
    *(Unavailable(account=number) for number in range(3, 300, 40)),
    Unavailable(account=90, state="deactivated"),
]


async def main() -> None:
    """All of it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("there is no Chromium here; Debian's package is called chromium")
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedKafka(Path(folder) / "kafka")
        bootstrap = await broker.start()
        await asyncio.to_thread(settle_coordinators, bootstrap)
        nothing = "http://127.0.0.1:9"  # no job writes to DynamoDB
        try:
            async with (
                dashboard_site(
                    bootstrap,
                    nothing,
                    "skyfill.",
                    Path(folder),
                    accounts=ACCOUNTS,
                    hosts=HOSTS,
                    records=60,
                    faults=FAULTS,
                ) as site,
                async_playwright() as playwright,
            ):
                rates = await asyncio.create_subprocess_exec(sys.executable, "-m", "cli", "rates")
                browser = await playwright.chromium.launch(executable_path=chromium)
                try:
                    await take(site, browser)
                finally:
                    await browser.close()
                    rates.terminate()
                    await rates.wait()
        finally:
            await broker.stop()


async def take(site: Site, browser: Browser) -> None:
    """The pictures, in the order in which there is something to see."""
    dids = list(site.network.dids)
    site.start("weekly-likes", dids[60:120], requests_per_second=40)
    await site.network.inject(HostDown(host=DOWN))
    site.start("nightly-sync", dids[:160], requests_per_second=20, max_retries=0, host_give_up_seconds=5)
    failed = await site.status("nightly-sync")
    await site.network.withdraw(HostDown(host=DOWN))
    await site.status("weekly-likes")
    site.start("stopped-early", dids[200:320], requests_per_second=0.5)
    site.start("archive-2024", dids, requests_per_second=0.3)
    await site.status("stopped-early", lambda job: job.totals.completed > 3)
    site.rig.publish("stopped-early", b'{"action":"cancel"}')
    site.start("waits-for-disk", dids[100:180], requests_per_second=1)
    await site.status("waits-for-disk", lambda job: job.totals.completed > 10)
    site.rig.publish("waits-for-disk", b'{"action":"pause"}')
    assert failed.totals.failed

    wide = await browser.new_context(base_url=site.server.url, viewport=WIDE, color_scheme="light")  # type: ignore[arg-type]
    page = await wide.new_page()
    await page.goto(f"/login#{site.server.tokens['admin']}")
    await page.wait_for_url("/")
    await page.goto("/lag")
    await page.locator(".spark").first.wait_for(timeout=60_000)
    await start_form(page, dids)
    await page.goto("/jobs/nightly-sync")
    await page.evaluate("document.querySelector('#errors-title').parentElement.scrollIntoView()")
    await shot(page, "failures")
    # Some minutes of the job that runs, so that there is a pace to draw.
    await site.status("archive-2024", lambda job: job.totals.terminal > 0.6 * ACCOUNTS)
    await page.goto("/lag")
    await shot(page, "lag")
    await page.goto("/")
    await shot(page, "jobs")
    await page.goto("/jobs/archive-2024")
    await page.locator(".chart canvas").first.wait_for()
    await shot(page, "job")
    await page.emulate_media(color_scheme="dark")
    await shot(page, "dark")
    small = await browser.new_context(
        base_url=site.server.url,
        viewport=PHONE,  # type: ignore[arg-type]
        color_scheme="dark",
        storage_state=await wide.storage_state(),
    )
    phone = await small.new_page()
    await phone.goto("/jobs/archive-2024")
    await phone.locator(".chart canvas").first.wait_for()
    await shot(phone, "phone")
    await phone.goto("/")
    await shot(phone, "phone-jobs")


async def start_form(page: Page, dids: list[str]) -> None:
    """The form, filled in, with its dry run."""
    await page.goto("/start")
    await page.get_by_label("Name", exact=True).fill("archive-2025")
    await page.get_by_label("Accounts", exact=True).fill("\n".join(dids[:200]))
    await page.get_by_label("post", exact=True).check()
    await page.get_by_label("like", exact=True).check()
    await page.get_by_label("First day").fill("2025-01-01")
    await page.get_by_label("Folder").fill("archive")
    await page.get_by_role("button", name="Dry run").click()
    await page.locator("#plan table").wait_for(timeout=60_000)
    await page.evaluate("scrollTo(0, 0)")
    await shot(page, "start")


async def shot(page: Page, name: str, *, whole: bool = False) -> None:
    """What is seen of a page, or all of it, without what blinks."""
    path = IMAGES / f"dashboard-{name}.png"
    await page.wait_for_timeout(700)
    await page.screenshot(path=path, full_page=whole, animations="disabled")
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    asyncio.run(main())
