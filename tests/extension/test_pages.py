"""The extension in Debian's Chromium, with a node that a test plays: the button, the popup, pairing, and failures."""

from __future__ import annotations

import json
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright

from tests.harness.buttons import ChromiumButton, candidates, chromium, eventually, pair
from tests.harness.chromium import CHROMIUM
from tests.harness.fake_control import DIRECTLY, ID, THROUGH, TOKEN, FakeNode
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from playwright.async_api import BrowserContext, Page

pytestmark = [
    pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="Debian's package chromium is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]

NAMES = "--host-resolver-rules=MAP *.test 127.0.0.1"
RIVAL = {
    "manifest.json": json.dumps(
        {
            "manifest_version": 3,
            "name": "rival",
            "version": "1",
            "permissions": ["proxy"],
            "background": {"service_worker": "rival.js"},
        }
    ),
    "rival.js": "",
}
TEXT = "() => document.body.innerText"
LOOK = """async () => { await (await import("/page.js")).tell("look"); }"""
RESET = """async () => {
  const { tell } = await import("/page.js");
  const { forgetNode } = await import("/kept.js");
  await tell("off");
  await forgetNode();
  await tell("look");
}"""
PAIR = """async (node) => {
  const { tell } = await import("/page.js");
  const { keep } = await import("/kept.js");
  await keep(node);
  await tell("look");
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def start() -> AsyncIterator[Callable[..., Awaitable[BrowserContext]]]:
    async with async_playwright() as playwright:
        yield playwright.chromium.launch_persistent_context


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    start: Callable[..., Awaitable[BrowserContext]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ChromiumButton]:
    rival = tmp_path_factory.mktemp("rival")
    for name, text in RIVAL.items():
        (rival / name).write_text(text)
    profile = tmp_path_factory.mktemp("profile")
    async with chromium(start, profile, NAMES, extensions=[rival]) as browser:
        errors: list[str] = []
        browser.context.on("weberror", lambda found: errors.append(str(found.error)))
        yield browser
        assert errors == []


@pytest_asyncio.fixture(loop_scope="module")
async def node() -> AsyncIterator[FakeNode]:
    async with FakeNode() as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(running: ChromiumButton) -> Page:
    """A tab with what the extension may do, in which nothing goes on by itself."""
    page = await running.context.new_page()
    await page.goto(running.address("page.css"))
    return page


@pytest_asyncio.fixture(loop_scope="module")
async def browser(running: ChromiumButton, desk: Page) -> ChromiumButton:
    """As it is after it was installed."""
    for page in running.context.pages:
        if page not in (running.tab, desk):
            await page.close()
    await running.tab.goto("about:blank")
    await desk.evaluate(RESET)
    return running


@pytest_asyncio.fixture(loop_scope="module")
async def paired(browser: ChromiumButton, desk: Page, node: FakeNode) -> ChromiumButton:
    await desk.evaluate(PAIR, {"port": node.port, "id": ID, "token": TOKEN})
    return browser


@pytest_asyncio.fixture(loop_scope="module")
async def on(paired: ChromiumButton, node: FakeNode) -> ChromiumButton:
    await paired.open(f"http://local.test:{node.site_port}/")
    await paired.click()
    await eventually(paired.badge, "NL".__eq__)
    return paired


async def stored(browser: ChromiumButton, key: str) -> str:
    """What the extension keeps on disk, as JSON."""
    return json.dumps((await browser.worker.evaluate("chrome.storage.local.get()")).get(key))


async def proxy(browser: ChromiumButton) -> dict[str, Any]:
    found: dict[str, Any] = await browser.worker.evaluate("chrome.proxy.settings.get({})")
    return found


async def press(browser: ChromiumButton, button: str) -> None:
    """Press a button of the popup when it can be pressed."""
    ready = f"() => String(!document.getElementById('{button}').disabled)"
    await eventually(partial(browser.popup, ready), "true".__eq__)
    await browser.popup(f"() => document.getElementById('{button}').click()")


async def test_a_click_without_a_node_opens_the_page_that_pairs(browser: ChromiumButton) -> None:
    await browser.click()
    await until(lambda: any(page.url == browser.address("pair.html") for page in browser.context.pages))
    assert (await proxy(browser))["levelOfControl"] == "controllable_by_this_extension"


@pytest.mark.parametrize(
    "code", ["41081", "K7QF-2M9X", "0-K7QF-2M9X", "65536-K7QF-2M9X", "http://192.0.2.1:80-AA", "1-<b>"]
)
async def test_what_is_no_code_is_handed_in_nowhere(browser: ChromiumButton, node: FakeNode, code: str) -> None:
    assert "This is no code" in await pair(browser, code)
    assert node.calls == []


async def test_a_code_that_the_node_refuses_and_one_for_nobody(browser: ChromiumButton, node: FakeNode) -> None:
    assert await pair(browser, f"{node.port}-AAAA-AAAA") == "This code is wrong, used or too old."
    await node.stop()
    assert f"Nothing answers at port {node.port}" in await pair(browser, node.code)
    assert await stored(browser, "token") in ('""', "null")


async def test_the_page_that_pairs_says_that_it_is_paired_and_forgets(paired: ChromiumButton) -> None:
    page = await paired.context.new_page()
    await page.goto(paired.address("pair.html"))
    await page.get_by_text("It is paired.").wait_for()
    assert await page.get_by_text("Close Firefox").is_hidden()
    await page.get_by_role("button", name="Forget the node").click()
    await page.get_by_text("Only you can see the code").wait_for()
    assert await stored(paired, "token") == '""'


async def test_a_code_as_people_type_it_pairs_and_a_click_turns_it_on(browser: ChromiumButton, node: FakeNode) -> None:
    assert (await pair(browser, f" {node.code.lower().replace('-', ' ')} ")).startswith("Paired.")
    assert node.calls[0] == ("POST", "pair", {"code": node.code})
    assert await browser.open(f"http://site.test:{node.site_port}/") == DIRECTLY
    await browser.click()
    await eventually(browser.badge, "NL".__eq__)
    assert await browser.open(f"http://site.test:{node.site_port}/") == THROUGH
    assert await browser.open(f"http://local.test:{node.site_port}/") == DIRECTLY
    assert node.origins == {"", browser.address("").rstrip("/")}


async def test_the_popup_says_path_speed_and_cost(on: ChromiumButton) -> None:
    text = await eventually(partial(on.popup, TEXT), lambda text: "MB/s" in text)
    for part in ("leaving from Netherlands", "guard DE", "relay US-CA", "exit NL", "↓ 2.3 MB/s", "↑ 1.5 kB/s", "41 ms"):
        assert part in text
    assert "0.0025 coins per GB, 1.2 spent" in text
    assert "Private windows go direct" in text


async def test_a_hop_of_which_nobody_knows_where_it_is_has_no_place(on: ChromiumButton, node: FakeNode) -> None:
    node.places[:2] = "", "<b>DE"
    await on.popup("() => location.reload()")
    path = "() => [...document.querySelectorAll('#path li')].map((hop) => hop.textContent).join(', ')"
    assert await eventually(partial(on.popup, path), bool) == "guard, relay, exit NL"


async def test_a_click_and_enter_turn_it_off(on: ChromiumButton, node: FakeNode) -> None:
    focused = "() => document.activeElement.id"
    await eventually(partial(on.popup, focused), "switch".__eq__)
    await eventually(partial(on.popup, TEXT), lambda text: "MB/s" in text)
    await on.popup("() => document.activeElement.blur()")
    await node.stop()
    node.status |= {"state": "connecting", "reason": "Back soon."}
    await node.again()
    await eventually(partial(on.popup, TEXT), lambda text: "Back soon." in text)
    assert await on.popup(focused) == "", "Enter may have been meant for something else by now"
    await on.popup("() => location.reload()")
    await eventually(partial(on.popup, focused), "switch".__eq__)
    await on.enter()
    await eventually(on.badge, "".__eq__)
    await eventually(partial(on.popup, focused), "switch".__eq__)


async def test_off_is_the_browser_s_own_way_again(on: ChromiumButton, node: FakeNode) -> None:
    assert (await proxy(on))["value"]["pacScript"]["mandatory"] is True
    assert await on.run(candidates()) == "[]"
    await press(on, "switch")
    await eventually(on.badge, "".__eq__)
    assert await on.open(f"http://site.test:{node.site_port}/") == DIRECTLY
    assert (await proxy(on))["levelOfControl"] == "controllable_by_this_extension"
    assert ".local " in await on.run(candidates())


async def test_bypass_this_site_and_back(on: ChromiumButton, node: FakeNode) -> None:
    site, other = (f"http://{name}.test:{node.site_port}/" for name in ("site", "other"))
    assert await on.open(site) == THROUGH
    await on.click()
    await press(on, "bypass")
    await eventually(on.text, DIRECTLY.__eq__)
    assert node.rules == ["local.test", "site.test"]
    assert await on.open(other) == THROUGH
    assert await on.open(site) == DIRECTLY
    await on.click()
    await eventually(partial(on.popup, TEXT), lambda text: "Tunnel this site" in text)
    await press(on, "bypass")
    await eventually(on.text, THROUGH.__eq__)
    assert node.rules == ["local.test"]


async def test_a_new_route_and_another_country(on: ChromiumButton, node: FakeNode) -> None:
    await press(on, "route")
    await eventually(partial(on.popup, TEXT), lambda text: "The route is new" in text)
    assert ("POST", "hop", None) in node.calls
    await eventually(partial(on.popup, TEXT), lambda text: "Germany (1)" in text)
    choose = """() => { const list = document.getElementById("region");
        list.value = "DE"; list.dispatchEvent(new Event("change")); }"""
    await on.popup(choose)
    await eventually(partial(on.popup, TEXT), lambda text: "New connections leave from there" in text)
    assert ("PATCH", "settings", {"tunnel.regions": ["DE"]}) in node.calls


async def test_a_node_that_is_gone_blocks_and_is_explained_until_it_is_back(on: ChromiumButton, node: FakeNode) -> None:
    await node.stop()
    assert await on.open(f"http://site.test:{node.site_port}/page") == ""
    text = await eventually(on.text, lambda text: "the node does not answer" in text)
    assert "site.test cannot be reached through it. Nothing was sent past the tunnel." in text
    assert "macrovpn up" in text
    assert await on.badge() == "!"
    await node.again()
    await eventually(on.text, THROUGH.__eq__)
    assert on.tab.url == f"http://site.test:{node.site_port}/page"


async def test_a_site_that_the_exit_cannot_reach_is_told_from_a_node_that_is_gone(
    on: ChromiumButton, node: FakeNode
) -> None:
    assert await on.open("https://site.test/") == ""
    text = await eventually(on.text, lambda text: "The node is up" in text)
    assert "Check the address" in text
    assert "site.test:443" in node.asked


async def test_turned_on_without_a_node_nothing_leaves_not_after_a_restart_either(
    start: Callable[..., Awaitable[BrowserContext]], node: FakeNode, tmp_path: Path
) -> None:
    async with chromium(start, tmp_path, NAMES) as browser:
        await pair(browser, node.code)
        await node.stop()
        await browser.click()
        await eventually(browser.badge, "!".__eq__)
        assert await browser.open(f"http://site.test:{node.site_port}/") == ""
    async with chromium(start, tmp_path, NAMES) as browser:
        assert await browser.open(f"http://site.test:{node.site_port}/") == ""
        await eventually(browser.badge, "!".__eq__)
        await node.again()
        await eventually(browser.text, THROUGH.__eq__)


async def test_the_popup_says_what_is_wrong(on: ChromiumButton, desk: Page, node: FakeNode) -> None:
    async def shows(sentence: str, badge: str) -> None:
        await desk.evaluate(LOOK)
        assert await on.badge() == badge
        await on.popup("() => location.reload()")
        text = await eventually(partial(on.popup, TEXT), lambda text: sentence in text)
        assert ("Path" in text) == (badge == "on")

    node.status["state"] = "down"
    await shows("the node is switched off", "!")
    await press(on, "node-on")
    await eventually(partial(on.popup, TEXT), lambda _: ("POST", "on", None) in node.calls)
    node.status |= {"state": "up", "direct_because": "This network is trusted: home."}
    await shows("This network is trusted", "DIR")
    node.status |= {"direct_because": "", "padding": "x" * (5 << 20)}
    await shows("the node does not answer", "!")
    del node.status["padding"]
    hostile = '<img src="http://site.test/x" onerror="document.title = 1">'
    node.status |= {"state": "blocked", "reason": hostile, "exit_region": hostile, "money": {"spent": hostile}}
    await shows(hostile, "!")
    assert await on.popup("() => document.images.length") == "0"
    node.status["state"] = "up"
    await shows("On", "on")
    node.revoked = True
    await shows("does not know this browser any more", "!")
    assert await on.open(f"http://site.test:{node.site_port}/") == THROUGH


async def test_the_token_is_shown_to_nobody_else_at_the_node_s_port(
    on: ChromiumButton, desk: Page, node: FakeNode
) -> None:
    await node.stop()
    await desk.evaluate(LOOK)
    node.genuine = False
    await node.again()
    node.calls.clear()
    await desk.evaluate(LOOK)
    await on.popup("() => location.reload()")
    text = await eventually(partial(on.popup, TEXT), lambda text: "another program answers" in text)
    assert "It was told nothing" in text
    assert {path for _, path, _ in node.calls} == {"hello"}
    assert node.shown == {""}
    node.genuine = True
    await desk.evaluate(LOOK)
    assert await on.badge() == "NL"


async def test_another_extension_s_proxy_is_never_claimed(on: ChromiumButton) -> None:
    (rival,) = (worker for worker in on.context.service_workers if worker.url.endswith("/rival.js"))
    await rival.evaluate("chrome.proxy.settings.set({ value: { mode: 'direct' } })")
    try:
        await eventually(on.badge, "!".__eq__)
        await eventually(partial(on.popup, TEXT), lambda text: "Something else decides" in text)
    finally:
        await rival.evaluate("chrome.proxy.settings.clear({})")
    await eventually(on.badge, "NL".__eq__)


async def test_what_is_kept_says_nothing_of_where_the_user_went(on: ChromiumButton, node: FakeNode) -> None:
    await on.open(f"http://site.test:{node.site_port}/")
    kept = await on.worker.evaluate("chrome.storage.local.get()")
    assert set(kept) == {"on", "port", "id", "token", "pac", "digest", "proxy"}
    assert kept["token"] == TOKEN
    assert "site.test" not in json.dumps(kept)
