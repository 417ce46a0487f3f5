"""Browsers with the extension: Debian's Chromium under Playwright, and Firefox over WebDriver BiDi.

The button in the toolbar is clicked itself, and the popup that opens is Chromium's own. In Firefox nothing reaches into
it, so there the popup is a tab behind the site's.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import httpx
from playwright.async_api import Error
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.harness.chromium import CHROMIUM, QUIET
from tests.harness.demo import ROOT
from tests.harness.firefox import FIREFOX, write_profile
from tests.harness.sealed import CLIENT_GROUP, running_client
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from playwright.async_api import BrowserContext, Page, Worker

LIMIT_S: Final = 30.0
"""For what takes a tenth of it on a quiet machine."""
GECKO_ID: Final = "macro-vpn@macro-vpn.invalid"
_BUTTON: Final = "macro-vpn_macro-vpn_invalid"
"""What Firefox makes of the id where it names parts of its window."""

_CANDIDATES: Final = """async () => {
  const connection = new RTCPeerConnection({ iceServers: SERVERS });
  const found = [];
  connection.onicecandidate = ({ candidate }) => candidate?.candidate && found.push(candidate.candidate);
  connection.createDataChannel("any");
  await connection.setLocalDescription(await connection.createOffer());
  const end = Date.now() + 3000;
  while (connection.iceGatheringState !== "complete" && Date.now() < end)
    await new Promise((resolve) => setTimeout(resolve, 20));
  connection.close();
  return JSON.stringify(found);
}"""


def candidates(*stun: str) -> str:
    """A function which says, as JSON, which candidates WebRTC gathers for a page that names these STUN servers."""
    return _CANDIDATES.replace("SERVERS", json.dumps([{"urls": f"stun:{server}"} for server in stun]))


class FailedError(Exception):
    """A browser did not do what it was told."""


class Wire:
    """Requests and answers in JSON over a WebSocket: Chromium's DevTools protocol, and WebDriver BiDi.

    Args:
        socket: already open.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Do something, one thing at a time.

        Raises:
            FailedError: it was refused.
        """
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(LIMIT_S):
            while (answer := json.loads(await self._socket.recv())).get("id") != number:
                pass
        if "result" not in answer:
            raise FailedError(f"{method}: {answer.get('message') or answer.get('error')}")
        found: dict[str, Any] = answer["result"]
        return found


class Button(Protocol):
    """A browser with one tab for sites, and the button."""

    async def open(self, url: str) -> str:
        """Go there in the tab; return the text of the page, or nothing if there is none."""

    async def text(self) -> str:
        """What the tab shows now."""

    async def run(self, script: str) -> str:
        """Run a function in the tab's page and return the text that it returns."""

    async def own_page(self, name: str, script: str, *arguments: str) -> str:
        """Open a page of the extension, and run a function there."""

    async def click(self) -> None:
        """Click the button in the toolbar."""

    async def popup(self, script: str) -> str:
        """Run a function in the popup, which is opened unless it is open."""

    async def badge(self) -> str:
        """What stands on the button."""


async def eventually(ask: Callable[[], Awaitable[str]], expected: Callable[[str], object]) -> str:
    """Ask until the answer is as expected, and return it.

    Raises:
        AssertionError: it does not come; the error says what came last.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + LIMIT_S
    while True:
        found = ""
        with suppress(FailedError, Error):
            found = await ask()
        if expected(found):
            return found
        assert loop.time() < end, f"what came last: {found!r}"
        await asyncio.sleep(0.05)


ENTER_CODE: Final = """async (code) => {
  const { $ } = await import("./page.js");
  $("code").value = code;
  $("go").click();
  for (let left = 200; left && $("done").hidden && $("wrong").hidden; left--)
    await new Promise((resolve) => setTimeout(resolve, 20));
  return $("done").innerText + $("wrong").innerText;
}"""


_PRESS: Final = """async () => {
  const button = document.getElementById("NAME");
  const ready = async () => {
    for (let left = 500; left && button.disabled; left--) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  await ready();
  button.click();
  await ready();
}"""


def press(name: str) -> str:
    """A function that presses a button of the popup when it can be pressed, and waits for what comes of it."""
    return _PRESS.replace("NAME", name)


_CHOOSE: Final = """async () => {
  const list = document.getElementById("NAME");
  for (let left = 500; left && (list.disabled || !list.querySelector("[value='VALUE']")); left--)
    await new Promise((resolve) => setTimeout(resolve, 20));
  list.value = "VALUE";
  list.dispatchEvent(new Event("change"));
  for (let left = 500; left && list.disabled; left--) await new Promise((resolve) => setTimeout(resolve, 20));
}"""


def choose(name: str, value: str) -> str:
    """A function that chooses from a list of the popup when that can be done, and waits for what comes of it."""
    return _CHOOSE.replace("NAME", name).replace("VALUE", value)


async def pair(button: Button, code: str) -> str:
    """Enter a code on the extension's page; return what it said."""
    return await button.own_page("pair.html", ENTER_CODE, code)


# -- Chromium


class ChromiumButton:
    """Debian's Chromium with the extension.

    Args:
        context: of Playwright.
        worker: of the extension.
        devtools: `HOST:PORT` of the DevTools protocol, for what Playwright does not show.
    """

    def __init__(self, context: BrowserContext, worker: Worker, devtools: str) -> None:
        self.context = context
        self.worker = worker
        self._devtools = devtools
        self._id = worker.url.split("/")[2]
        self.tab: Page = context.pages[0]

    def address(self, name: str) -> str:
        """Where a page of the extension is."""
        return f"chrome-extension://{self._id}/{name}"

    async def open(self, url: str) -> str:
        try:
            await self.tab.goto(url, timeout=LIMIT_S * 1e3)
        except Error:
            return ""
        return await self.text()

    async def text(self) -> str:
        return await self.tab.inner_text("body")

    async def run(self, script: str) -> str:
        return str(await self.tab.evaluate(script))

    async def own_page(self, name: str, script: str, *arguments: str) -> str:
        page = await self.context.new_page()
        try:
            await page.goto(self.address(name))
            return str(await page.evaluate(script, *arguments))
        finally:
            await page.close()

    async def click(self) -> None:
        await self.tab.bring_to_front()
        browser = self.context.browser
        assert browser is not None
        session = await browser.new_browser_cdp_session()
        listed = await session.send("Target.getTargets", {"filter": [{"type": "tab"}]})
        (target,) = (entry["targetId"] for entry in listed["targetInfos"] if entry["url"] == self.tab.url)
        await session.send("Extensions.triggerAction", {"id": self._id, "targetId": target})
        await session.detach()

    async def popup_picture(self) -> bytes:
        """Open the popup unless it is open, and return what it looks like as a PNG."""
        if not await self._popup():
            await self.click()
        async with connect(await eventually(self._popup, bool), max_size=None, proxy=None) as socket:
            answer = await Wire(socket).call("Page.captureScreenshot")
        return base64.b64decode(answer["data"])

    async def popup(self, script: str) -> str:
        if not await self._popup():
            await self.click()
        target = await eventually(self._popup, bool)
        try:
            async with connect(target, max_size=None, proxy=None) as socket:
                call = {"expression": f"({script})()", "awaitPromise": True, "returnByValue": True}
                answer = await Wire(socket).call("Runtime.evaluate", **call)
        except InvalidStatus:  # it was closed meanwhile, and the script did not run
            return await self.popup(script)
        except ConnectionClosed as error:
            raise FailedError("the popup was closed") from error
        if "exceptionDetails" in answer:
            raise FailedError(str(answer["exceptionDetails"]))
        return str(answer["result"].get("value"))

    async def enter(self) -> None:
        """Press Enter in the popup, which is open."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        async with connect(await eventually(self._popup, bool), max_size=None, proxy=None) as socket:
            wire = Wire(socket)
            await wire.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
            await wire.call("Input.dispatchKeyEvent", type="keyUp", **key)

    async def _popup(self) -> str:
        """Where the DevTools of the popup are; empty while there is none."""
        async with httpx.AsyncClient(trust_env=False) as client:
            listed = (await client.get(f"http://{self._devtools}/json/list")).json()
        found = [target["webSocketDebuggerUrl"] for target in listed if target["url"] == self.address("popup.html")]
        return next(iter(found), "")

    async def badge(self) -> str:
        return str(await self.worker.evaluate("chrome.action.getBadgeText({})"))


@asynccontextmanager
async def chromium(
    start: Callable[..., Awaitable[BrowserContext]],
    profile: Path,
    *options: str,
    program: str = CHROMIUM,
    ours: Path = ROOT / "extension",
    extensions: Sequence[Path] = (),
) -> AsyncIterator[ChromiumButton]:
    """Run one.

    Args:
        start: `launch_persistent_context` of Playwright's Chromium.
        profile: its folder; what was kept there is there again.
        options: for Chromium.
        program: to run instead of it.
        ours: the folder of our extension.
        extensions: others beside ours.
    """
    is_new = not (profile / "Default").exists()
    context = await start(
        str(profile),
        headless=True,
        executable_path=program,
        ignore_default_args=["--disable-extensions"],
        args=[
            *(option for option in QUIET if option != "--disable-quic"),
            f"--load-extension={','.join(map(str, (ours, *extensions)))}",
            "--remote-debugging-port=0",
            *options,
        ],
    )
    try:
        name = json.loads((ours / "manifest.json").read_text())["background"]["service_worker"]
        while not (found := [worker for worker in context.service_workers if worker.url.endswith(f"/{name}")]):
            await context.wait_for_event("serviceworker", timeout=LIMIT_S * 1e3)
        port = (profile / "DevToolsActivePort").read_text().split()[0]
        button = ChromiumButton(context, found[0], f"127.0.0.1:{port}")
        if is_new:
            # Installed, it takes an empty tab for the page on which it is paired: the tests' tabs come after it.
            await until(lambda: any(page.url == button.address("pair.html") for page in context.pages), LIMIT_S)
        yield button
    finally:
        await context.close()


# -- Firefox

_CLICK: Final = """async (id) => {
  CustomizableUI.addWidgetToArea(`${id}-browser-action`, "nav-bar");
  await new Promise(requestAnimationFrame);
  const { left, top, width, height } = document.getElementById(`${id}-BAP`).getBoundingClientRect();
  for (const type of ["mousemove", "mousedown", "mouseup"])
    window.synthesizeMouseEvent(type, left + width / 2, top + height / 2, { button: 0, clickCount: 1 }, {});
  return "";
}"""
_BADGE: Final = "(id) => document.getElementById(`${id}-BAP`).getAttribute('badge') ?? ''"
_HOST: Final = "(id) => WebExtensionPolicy.getByID(id).mozExtensionHostname"


class FirefoxButton:
    """Firefox with the extension as a temporary add-on.

    Args:
        wire: of WebDriver BiDi, with a session.
        tab: the context of the tab for sites.
        window: the context of Firefox's own window.
        host: of the extension's pages.
    """

    def __init__(self, wire: Wire, tab: str, window: str, host: str) -> None:
        self._wire = wire
        self._tab = tab
        self._window = window
        self._host = host
        self._popup = ""

    async def open(self, url: str) -> str:
        try:
            await self._wire.call("browsingContext.navigate", context=self._tab, url=url, wait="complete")
        except FailedError:
            return ""
        return await self.text()

    async def text(self) -> str:
        return await self.run("() => document.body.innerText")

    async def run(self, script: str) -> str:
        return await evaluate(self._wire, self._tab, script)

    async def own_page(self, name: str, script: str, *arguments: str) -> str:
        page = await self._open_page(name)
        try:
            return await evaluate(self._wire, page, script, *arguments)
        finally:
            await self._wire.call("browsingContext.close", context=page)

    async def picture(self, url: str, text: str = "") -> bytes:
        """Show an address in the tab until it has a text, and return what it looks like as a PNG."""
        await self._wire.call("browsingContext.navigate", context=self._tab, url=url, wait="complete")
        await eventually(self.text, lambda found: text in found)
        answer = await self._wire.call("browsingContext.captureScreenshot", context=self._tab)
        return base64.b64decode(answer["data"])

    async def _open_page(self, name: str) -> str:
        """Open a page of the extension behind the tab for sites."""
        page = str((await self._wire.call("browsingContext.create", type="tab", background=True))["context"])
        url = f"moz-extension://{self._host}/{name}"
        await self._wire.call("browsingContext.navigate", context=page, url=url, wait="complete")
        return page

    async def click(self) -> None:
        await evaluate(self._wire, self._window, _CLICK, _BUTTON)

    async def popup(self, script: str) -> str:
        self._popup = self._popup or await self._open_page("popup.html")
        return await evaluate(self._wire, self._popup, script)

    async def badge(self) -> str:
        return await evaluate(self._wire, self._window, _BADGE, _BUTTON)


async def evaluate(wire: Wire, context: str, script: str, *arguments: str) -> str:
    """Run a function of Firefox's window, or of a page, and return the text that it returns.

    Raises:
        FailedError: it threw.
    """
    given = [{"type": "string", "value": argument} for argument in arguments]
    call = {"functionDeclaration": script, "target": {"context": context}, "arguments": given, "awaitPromise": True}
    answer = await wire.call("script.callFunction", **call, userActivation=True)
    if answer["type"] != "success":
        raise FailedError(answer["exceptionDetails"]["text"])
    return str(answer["result"].get("value"))


@asynccontextmanager
async def firefox(
    profile: Path,
    extension: Path,
    environment: Mapping[str, str],
    settings: Mapping[str, object],
    group: int = CLIENT_GROUP,
) -> AsyncIterator[FirefoxButton]:
    """Run one.

    Args:
        profile: a folder that is not there yet.
        extension: a folder with the extension as it is made for Firefox.
        environment: of its process.
        settings: of the profile.
        group: the group id that it runs under.
    """
    write_profile(profile, settings, "127.0.0.1:0")
    options = ["--profile", str(profile), "--remote-debugging-port", "0", "--remote-allow-system-access"]
    with running_client(*FIREFOX, *options, environment=environment, group=group):
        listening = profile / "WebDriverBiDiServer.json"
        await until(lambda: listening.exists() and listening.read_text().endswith("}"), LIMIT_S)
        where = json.loads(listening.read_text())
        async with connect(f"ws://{where['ws_host']}:{where['ws_port']}/session", max_size=None, proxy=None) as socket:
            wire = Wire(socket)
            await wire.call("session.new", capabilities={})
            await wire.call("webExtension.install", extensionData={"type": "path", "path": str(extension)})
            tree = await wire.call("browsingContext.getTree", **{"moz:scope": "chrome"})
            window = tree["contexts"][0]["context"]
            host = await evaluate(wire, window, _HOST, GECKO_ID)
            # It takes an empty tab for the page on which it is paired, so that the other one comes after it.
            await eventually(partial(_addresses, wire), lambda found: f"{host}/pair.html" in found)
            tab = (await wire.call("browsingContext.create", type="tab"))["context"]
            yield FirefoxButton(wire, tab, window, host)


async def _addresses(wire: Wire) -> str:
    """What stands in all tabs."""
    tree = await wire.call("browsingContext.getTree")
    return " ".join(context["url"] for context in tree["contexts"])
