"""The page in a real browser."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright

from lockstep.bundle import MANIFEST, Manifest, pack
from lockstep.model_store import ModelStore
from serving.outlook.shown import shown
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import NOON, MemoryReader, bundle_files, row
from tests.serving.conftest import Client, column, request

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

REPORT = b"<!doctype html><html><head><title>the report</title></head><body><h1>the report</h1></body></html>"
AT = "2017-11-09T12:00:00Z"


@dataclass
class Seen:
    """A page that is open, and what its console said."""

    page: Page
    server: Server
    url: str
    said: list[str] = field(default_factory=list)

    def note(self, asked: str) -> None:
        """Remember what was asked of others than this server."""
        if not asked.startswith((self.url, "data:")):
            self.said.append(asked)

    async def texts(self, selector: str) -> list[str]:
        """What stands in every element."""
        found: list[str] = await self.page.locator(selector).all_inner_texts()
        return found

    async def try_it(self, **fields: str) -> None:
        """Fill the form and send it."""
        for name, value in fields.items():
            await self.page.fill(f"#fields input[name={name}]", value)
        await self.page.fill("#at", AT)
        await self.page.click("#go")
        await self.page.wait_for_selector("#answer:not([hidden]), #wrong:not([hidden])")


@pytest.fixture
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """One model with a report."""
    store = ModelStore(tmp_path_factory.mktemp("models"))

    def files(version: str) -> dict[str, bytes]:
        made = bundle_files("tiny", version)
        manifest = Manifest.from_json(made.pop(MANIFEST))
        return pack(manifest, {**made, "report.html": REPORT})

    store.publish("tiny", files)
    store.promote("tiny", "1", "champion")
    return store


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A browser takes seconds to start."""
    async with async_playwright() as tool:
        browser = await tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def opened(browser: Browser, url: str) -> AsyncIterator[Page]:
    """The page, as somebody sees it who was never there."""
    context = await browser.new_context(color_scheme="light")
    page = await context.new_page()
    page.set_default_timeout(20_000)
    await page.goto(url)
    await page.wait_for_selector("#state.good")
    yield page
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def seen(models: ModelStore, browser: Browser) -> AsyncIterator[Seen]:
    settings = Settings(port=0, models_url=models.url)
    reader = MemoryReader({2: row(clicks=3.0, event_us=NOON - 30_000_000, last_click=NOON - 1_000_000)})
    async with running(settings, reader) as server, shown(server, settings) as url, opened(browser, url) as page:
        made = Seen(page, server, url)
        page.on("console", lambda message: made.said.append(message.text))
        page.on("pageerror", lambda error: made.said.append(str(error)))
        page.on("request", lambda asked: made.note(asked.url))
        await page.reload()
        yield made


async def colour(seen: Seen, name: str) -> str:
    found: str = await seen.page.evaluate(f"getComputedStyle(document.body).{name}")
    return found


async def test_it_shows_the_model_with_its_metrics_and_report(seen: Seen) -> None:
    (card,) = await seen.texts(".card")
    assert card.startswith("tiny 1")
    assert "champion" in card
    assert "0.75" in card
    async with seen.page.expect_navigation():
        await seen.page.click("text=report >> visible=true")
    assert await seen.page.title() == "the report"
    assert seen.said == []


async def test_it_follows_the_traffic(seen: Seen) -> None:
    async with grpc.aio.insecure_channel(seen.server.address) as channel:
        for _ in range(20):
            await Client(channel).ask(request(column("ip", 2, 9), column("bid", 0.5)))
            await asyncio.sleep(0.01)
    await seen.page.wait_for_selector("#rungs .fill-warn", timeout=10_000)
    assert "not found 50 %" in " ".join(await seen.texts("#views tbody tr"))
    await seen.page.wait_for_selector("#traffic path.one", timeout=10_000)
    assert {text.split("\n")[0] for text in await seen.texts("#stages span")} >= {"queue", "read", "model", "encode"}
    assert seen.said == []


async def test_a_prediction_is_tried_and_every_feature_explained(seen: Seen) -> None:
    await seen.try_it(ip="2", bid="0.5")
    (score,) = await seen.texts("#score")
    assert "rung FRESH" in score
    rows = {cells[0]: cells for cells in [text.split("\t") for text in await seen.texts("#features tbody tr")]}
    assert rows["clicks"][1:4] == ["3", "ip_activity", "present"]
    assert rows["clicks"][4] == "30 s"
    assert rows["clicks"][5].strip().startswith("+")
    assert rows["ip"][5].strip() == "–"
    assert seen.said == []


async def test_what_is_wrong_stands_on_the_page_as_text(seen: Seen) -> None:
    await seen.try_it(ip="2", bid="<img src=x onerror=alert(1)>")
    (wrong,) = await seen.texts("#wrong")
    assert "'<img src=x onerror=alert(1)>' is not of type float32" in wrong
    assert await seen.page.locator("#wrong img").count() == 0
    assert len(seen.said) == 1  # the browser's own line on the status 400


async def test_it_is_light_or_dark_as_the_reader_wants(seen: Seen) -> None:
    light = await colour(seen, "backgroundColor")
    await seen.page.click("#theme")
    dark = await colour(seen, "backgroundColor")
    assert light != dark
    await seen.page.reload()
    assert await colour(seen, "backgroundColor") == dark
    await seen.page.evaluate("localStorage.clear()")
    await seen.page.emulate_media(color_scheme="dark")
    await seen.page.reload()
    assert await colour(seen, "backgroundColor") == dark


async def test_it_says_when_the_server_is_gone(seen: Seen) -> None:
    async def lose(route: Route) -> None:
        await route.abort()

    await seen.page.route("**/api/state", lose)
    await seen.page.wait_for_selector("#lost:not([hidden])", timeout=10_000)
    assert (await seen.texts("#state")) == ["no answer"]
    await seen.page.unroute("**/api/state")
    await seen.page.wait_for_selector("#state.good", timeout=10_000)
    assert await seen.page.locator("#lost").is_hidden()


async def test_it_fits_a_narrow_screen(seen: Seen) -> None:
    await seen.page.set_viewport_size({"width": 380, "height": 800})
    await seen.try_it(ip="2", bid="0.5")
    assert await seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_where_trying_is_off_there_is_no_form(models: ModelStore, browser: Browser) -> None:
    settings = Settings(port=0, models_url=models.url, page_try="never")
    async with (
        running(settings, MemoryReader()) as server,
        shown(server, settings) as url,
        opened(browser, url) as page,
    ):
        assert await page.locator("#trial").is_hidden()
