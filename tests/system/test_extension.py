"""The extension, a real node and real browsers, in a network where it is seen what goes past the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
from playwright.async_api import async_playwright

from scripts import extension
from tests.harness.buttons import Button, candidates, chromium, eventually, firefox, pair
from tests.harness.chromium import CHROMIUM
from tests.harness.closed import BYPASSED, PROXY, TUNNELLED, WEB_PORT, Client, Site, change_network
from tests.harness.demo import Demo, command
from tests.harness.firefox import CLOSED, FIREFOX, UNASKED
from tests.harness.namespaces import ip, why_not
from tests.harness.origin import NameServer
from tests.harness.sealed import CLIENT_GROUP, Sealed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from playwright.async_api import BrowserContext

MISSING = why_not("nft", "setpriv", CHROMIUM, FIREFOX[0])
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]

SETTINGS: Final = CLOSED | UNASKED | {"network.dns.native_https_query": False}
"""What `docs/extension.md` says to set in Firefox."""
STUN: Final = f"{TUNNELLED}:3478"
BY_NAME: Final = "site.test"
"""The tunnelled site, by a name which only the exit can look up."""
TEXT: Final = "() => document.body.innerText"
PRESS: Final = """async () => {
  const button = document.getElementById("NAME");
  for (let left = 250; left && button.disabled; left--) await new Promise((resolve) => setTimeout(resolve, 20));
  button.click();
  for (let left = 250; left && button.disabled; left--) await new Promise((resolve) => setTimeout(resolve, 20));
  return document.body.innerText;
}"""


class Machine:
    """Two sites, a network, a node, and nothing around them."""

    def __init__(self, network: Sealed, node: Client, bootstrap: str) -> None:
        self.network = network
        self.node = node
        self.bootstrap = bootstrap
        self.sites = Site(TUNNELLED), Site(BYPASSED)

    def code(self) -> str:
        """What the user reads off."""
        return str(command("pair", home=self.node.home)["code"])

    async def up(self) -> None:
        self.node.start(self.bootstrap)
        await asyncio.to_thread(self.node.until, "up")

    async def seen(self, button: Button, host: str) -> str:
        """Open a page; return how its site was reached, or `nothing` if the page did not come."""
        for site in self.sites:
            site.came.clear()
        text = await button.open(f"http://{host}/page")
        ways = {site.way("page") for site in self.sites} - {"nothing"}
        assert bool(ways) == (text == "ok"), (text, ways)
        return ways.pop() if ways else "nothing"


@asynccontextmanager
async def machine(folder: Path) -> AsyncIterator[Machine]:
    async with AsyncExitStack() as stack:
        network = stack.enter_context(Sealed())
        stack.enter_context(network.entered())
        for address in (TUNNELLED, BYPASSED):
            ip("address", "add", f"{address}/32", "dev", "lo")
        names = stack.enter_context(NameServer(TUNNELLED))
        options = ["--relays", "2", "--exits", "1", "--hops", "2", "--allow-destination", "192.0.2.0/24"]
        demo = stack.enter_context(Demo(*options, "--resolver", names.endpoint, log=folder / "demo.log"))
        first = demo.facts["processes"][0]
        node = stack.enter_context(Client(folder / "home"))
        made = Machine(network, node, f"{first['address']}/p2p/{first['peer_id']}")
        for site in made.sites:
            await site.start(stack)
        await made.up()
        network.open_door(int(PROXY.rpartition(":")[2]))
        network.open_door(int(made.code().partition("-")[0]))
        yield made


@asynccontextmanager
async def run_chromium(folder: Path) -> AsyncIterator[Button]:
    program = folder / "chromium"
    program.write_text(f'#!/bin/sh\nexec setpriv --regid {CLIENT_GROUP} --clear-groups {CHROMIUM} "$@"\n')
    program.chmod(0o700)
    async with async_playwright() as playwright:
        start = playwright.chromium.launch_persistent_context
        async with chromium(start, folder / "profile", program=str(program)) as button:
            yield button


@asynccontextmanager
async def run_firefox(folder: Path) -> AsyncIterator[Button]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    made = extension.build("firefox", folder)
    async with firefox(folder / "profile", made, environment, SETTINGS, CLIENT_GROUP) as button:
        yield button


def press(name: str) -> str:
    """A function that presses a button of the popup when it can be pressed, and waits for what comes of it."""
    return PRESS.replace("NAME", name)


@pytest.mark.parametrize("run", [run_chromium, run_firefox], ids=["chromium", "firefox"])
async def test_one_click(run: Callable[[Path], contextlib.AbstractAsyncContextManager[Button]], tmp_path: Path) -> None:
    async with machine(tmp_path) as here, run(tmp_path) as button:
        import time
        t=time.time()
        def mark(x): print(x, round(time.time()-t,1))
        assert await here.seen(button, TUNNELLED) == "direct"
        mark("direct")
        assert (await pair(button, here.code())).startswith("Paired.")
        mark("paired")

        await button.click()
        await eventually(button.badge, lambda text: text not in ("", "…", "!"))
        mark("on")
        here.network.strays()
        assert await here.seen(button, BY_NAME) == "through"
        assert await here.seen(button, TUNNELLED) == "through"
        assert await button.run(candidates(STUN)) == "[]"
        mark("webrtc")
        text = await eventually(partial(button.popup, TEXT), lambda text: "kB/s" in text)
        assert "guard" in text
        assert "exit" in text
        print(text)
        assert here.network.strays() == set()
        mark("popup")

        await here.seen(button, TUNNELLED)
        mark("click")
        await button.popup(press("bypass"))
        mark("bypass")
        await eventually(partial(here.seen, button, TUNNELLED), "direct".__eq__)
        assert await here.seen(button, BY_NAME) == "through"
        assert here.network.strays() == {(TUNNELLED, "tcp", WEB_PORT)}
        mark("x")

        here.node.end()
        assert await here.seen(button, BY_NAME) == "nothing"
        await eventually(button.text, lambda text: "the node does not answer" in text)
        change_network(7)
        assert await here.seen(button, BY_NAME) == "nothing"
        assert here.network.strays() == set()
        mark("gone")
        await here.up()
        mark("up")
        await eventually(button.text, "ok".__eq__)
        mark("back")

        await button.popup(press("switch"))
        await eventually(button.badge, "".__eq__)
        assert await here.seen(button, BYPASSED) == "direct"
        assert await here.seen(button, TUNNELLED) == "direct"
        mark("off")
