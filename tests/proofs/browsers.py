"""Browsers as their users have them, each under a group id of its own and with the tempting page open.

They are told the settings of `docs/clients.md` and `docs/extension.md`, and nothing else: what they send on their own
account has to go to the proxy, too.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from playwright.async_api import async_playwright

from scripts import extension
from tests.harness import buttons
from tests.harness.buttons import eventually, pair
from tests.harness.chromium import CHROMIUM, QUIET
from tests.harness.closed import PROXY
from tests.harness.firefox import CLOSED, FIREFOX, HTTP, SETTINGS, SOCKS, UNASKED, write_profile
from tests.harness.sealed import in_group, running_client
from tests.proofs.tempting import write_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from playwright.async_api import BrowserContext

    from tests.harness.buttons import Button

CLOSED_FIREFOX: Final = CLOSED | UNASKED | {"network.dns.native_https_query": False}
NO_DATAGRAMS: Final = {"media.peerconnection.ice.proxy_only": True}
CHROMIUM_RUNS: Final = ("--no-sandbox", "--disable-gpu", "--headless=new")
"""What it takes to run it here at all, as root and without a screen."""
GONE_S: Final = 20.0
BENEATH: Final = f"--proxy-server=http://{PROXY}"
"""No extension decides about Chromium's own services: they ask for Google's, past it."""
WEBRTC: Final = "--webrtc-ip-handling-policy=disable_non_proxied_udp"


@dataclass(frozen=True, slots=True)
class Kind:
    """A browser with settings.

    Args:
        name: in letters; it stands in the browser's requests.
        title: what people call it.
        start: runs one with the page open. Given are a folder, a group id, and what gives the code of a pairing.
        clicked: it has the button, which is off until it is paired and clicked.
    """

    name: str
    title: str
    start: Callable[[Path, int, Callable[[], str]], AbstractAsyncContextManager[None]]
    clicked: bool = False


def fixed_firefox(name: str, how: str) -> Kind:
    @asynccontextmanager
    async def start(folder: Path, group: int, code: Callable[[], str]) -> AsyncIterator[None]:
        profile = folder / name
        write_profile(profile, SETTINGS[how] | CLOSED_FIREFOX | NO_DATAGRAMS, PROXY)
        command = (*FIREFOX, "--profile", str(profile), write_page(folder, name))
        async with running(folder, group, *command):
            yield

    return Kind(name, f"Firefox, {how}", start)


def fixed_chromium(name: str, scheme: str, *options: str) -> Kind:
    @asynccontextmanager
    async def start(folder: Path, group: int, code: Callable[[], str]) -> AsyncIterator[None]:
        settings = (f"--user-data-dir={folder / name}", f"--proxy-server={scheme}://{PROXY}", *options)
        command = (CHROMIUM, *CHROMIUM_RUNS, *settings, write_page(folder, name))
        async with running(folder, group, *command):
            yield

    return Kind(name, f"Chromium, {scheme}://", start)


@asynccontextmanager
async def running(folder: Path, group: int, *command: str) -> AsyncIterator[None]:
    """Run a browser, and have it end by itself."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with running_client(*command, environment=environment, group=group) as process:
        yield
        os.killpg(process.pid, signal.SIGTERM)
        await asyncio.to_thread(process.wait, GONE_S)


@asynccontextmanager
async def firefox_with_button(folder: Path, group: int, code: Callable[[], str]) -> AsyncIterator[None]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    made = extension.build("firefox", folder)
    async with buttons.firefox(folder / "foxbutton", made, environment, CLOSED_FIREFOX, group) as button:
        await turn_on(button, code(), write_page(folder, "foxbutton"))
        yield


@asynccontextmanager
async def chromium_with_button(folder: Path, group: int, code: Callable[[], str]) -> AsyncIterator[None]:
    profile = folder / "chromebutton"
    async with async_playwright() as playwright:

        async def launch(path: str, *, args: list[str], executable_path: str, **_: Any) -> BrowserContext:
            """Run it with none of Playwright's settings, and none that keep it quiet."""
            loud = [option for option in args if option not in QUIET]
            own = [*CHROMIUM_RUNS, BENEATH, "--remote-debugging-pipe", "--enable-unsafe-extension-debugging"]
            return await playwright.chromium.launch_persistent_context(
                path,
                executable_path=executable_path,
                ignore_default_args=True,
                args=[*own, f"--user-data-dir={path}", *loud, "about:blank"],
                env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            )

        async with buttons.chromium(launch, profile, program=in_group(folder, CHROMIUM, group)) as button:
            await turn_on(button, code(), write_page(folder, "chromebutton"))
            yield


async def turn_on(button: Button, code: str, page: str) -> None:
    """Pair the button, click on it, and open the page."""
    said = await pair(button, code)
    assert said.startswith("Paired."), said
    await button.click()
    await eventually(button.badge, lambda text: text not in ("", "…", "!"))
    await button.open(page)


KINDS: Final = (
    fixed_chromium("chromehttp", "http", WEBRTC),
    fixed_chromium("chromesocks", "socks5", WEBRTC),
    fixed_firefox("foxhttp", HTTP),
    fixed_firefox("foxsocks", SOCKS),
    Kind("chromebutton", "Chromium, the button", chromium_with_button, clicked=True),
    Kind("foxbutton", "Firefox, the button", firefox_with_button, clicked=True),
)
