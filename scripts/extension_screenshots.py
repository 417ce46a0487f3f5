"""Pictures of the browser button, and of the pages of browsers on which it is set up: a part of `make_screenshots`.

They are taken in Debian's Chromium and Firefox, with a demo network. Firefox is started as the tests start it, which
needs root.
"""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final

from playwright.async_api import async_playwright

from bench.network import demo
from scripts.extension import build
from tests.harness.buttons import chromium, eventually, firefox, pair
from tests.harness.firefox import SETTINGS, SOCKS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

CODE: Final = "41081-K7QF-2M9X"
"""Of no node; the form of one is what the picture shows."""
BY_HAND: Final = SETTINGS[SOCKS] | {"network.proxy.socks": "127.0.0.1", "network.proxy.socks_port": 1080}
DIALOG: Final = "chrome://browser/content/preferences/dialogs/connection.xhtml"
ADD_ONS: Final = "about:debugging#/runtime/this-firefox"

_SPEED: Final = '() => document.getElementById("speed").textContent'
_MANAGER: Final = 'document.querySelector("extensions-manager").shadowRoot'
_DEVELOPER: Final = f'{_MANAGER}.querySelector("extensions-toolbar").shadowRoot.querySelector("#devMode").click()'


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>A site</title><h1>A site</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def _site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


async def pictures(*network: str) -> AsyncIterator[tuple[str, bytes]]:
    """Take them.

    Args:
        network: options of `macrovpn demo`.

    Yields:
        A name and a PNG.
    """
    with tempfile.TemporaryDirectory() as folder:
        async for picture in _in_chromium(Path(folder), *network):
            yield picture
        async for picture in _in_firefox(Path(folder)):
            yield picture


async def _in_chromium(folder: Path, *network: str) -> AsyncIterator[tuple[str, bytes]]:
    with _site() as site, demo(*network) as nodes:
        async with async_playwright() as programs:
            start = programs.chromium.launch_persistent_context
            async with chromium(start, folder / "chromium") as button:
                page = await button.context.new_page()
                await page.set_viewport_size({"width": 640, "height": 430})
                await page.goto("chrome://extensions")
                await page.evaluate(_DEVELOPER)
                await page.get_by_role("button", name="Load unpacked").wait_for()
                yield "chromium-extensions", await page.screenshot(animations="disabled")
                await page.goto(button.address("pair.html"))
                await page.fill("#code", CODE)
                yield "pair", await page.screenshot()
                await page.close()

                port = nodes.client.url.rpartition(":")[2]
                await pair(button, f"{port}-{nodes.client.code('extension')['code']}")
                await button.tab.set_viewport_size({"width": 640, "height": 340})
                await button.open(site)
                await button.click()
                await eventually(button.badge, "CA".__eq__)
                await button.open(site)
                await eventually(partial(button.popup, _SPEED), "↓".__lt__)
                yield "popup", await button.popup_picture()

                os.kill(nodes.named()["client"], signal.SIGKILL)
                await button.open("http://example.test/")
                await eventually(button.text, lambda text: "the node does not answer" in text)
                yield "stopped", await button.tab.screenshot()


async def _in_firefox(folder: Path) -> AsyncIterator[tuple[str, bytes]]:
    build("firefox", folder)
    async with firefox(folder / "profile", folder / "macrovpn-firefox", os.environ, BY_HAND) as button:
        yield "firefox-proxy", await button.picture(DIALOG)
        yield "firefox-add-on", await button.picture(ADD_ONS, "Macro VPN")
