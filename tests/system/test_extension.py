"""The extension, a real node and real browsers, in a network where it is seen what goes past the proxy."""

from __future__ import annotations

import asyncio
import itertools
import os
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
from playwright.async_api import async_playwright

from node.demo_plan import LEDGER_NAME
from scripts import extension
from tests.harness.buttons import Button, FailedError, candidates, choose, chromium, eventually, firefox, pair, press
from tests.harness.chromium import CHROMIUM
from tests.harness.closed import BYPASSED, EXITS, PROXY, TUNNELLED, WEB_PORT, Client, Site, change_network
from tests.harness.demo import Demo, command
from tests.harness.firefox import CLOSED, FIREFOX, UNASKED
from tests.harness.namespaces import ip, why_not
from tests.harness.origin import NameServer
from tests.harness.sealed import Sealed, in_group

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

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
NL, DE = f"{EXITS}1", f"{EXITS}2"
"""Where the exits leave from."""
REGIONS: Final = ("--exit-region", "NL", "--exit-region", "DE")
TEXT: Final = "() => document.body.innerText"

TEMPT: Final = """() => {
  const link = (rel, href) => document.head.append(Object.assign(document.createElement("link"), { rel, href }));
  link("dns-prefetch", "http://one.test");
  link("preconnect", "https://two.test");
  link("prefetch", "http://three.test/");
  new WebSocket("ws://four.test/");
  fetch("http://five.test/", { mode: "no-cors" }).catch(() => {});
  fetch("https://192.0.2.82/", { mode: "no-cors" }).catch(() => {});
  return "";
}"""
"""Everything by which a page can have a browser look up a name or connect."""

OWN: Final = "--host-resolver-rules=MAP update.googleapis.com ~NOTFOUND"
"""What Chromium itself looks up past the proxy of any extension, as `docs/extension.md` says."""
DIRECT: Final = (TUNNELLED, "tcp", WEB_PORT)


class Machine:
    """Two sites, a network, a node, and nothing around them."""

    def __init__(self, network: Sealed, node: Client, bootstrap: str) -> None:
        self.network = network
        self.node = node
        self.bootstrap = bootstrap
        self.sites = Site(TUNNELLED), Site(BYPASSED)
        self._names = itertools.count()

    def code(self) -> str:
        """What the user reads off."""
        return str(command("pair", home=self.node.home)["code"])

    async def up(self) -> None:
        self.node.start(self.bootstrap)
        await asyncio.to_thread(self.node.until, "up")

    async def seen(self, button: Button, host: str) -> str:
        """Open a page; return how its site was reached, or `nothing` if the page did not come."""
        name = f"page{next(self._names)}"
        text = await button.open(f"http://{host}/{name}")
        ways = {site.way(name) for site in self.sites} - {"nothing"}
        if bool(ways) != (text == "ok"):  # the page was loaded anew meanwhile
            raise FailedError(f"{text!r}, and the site was reached: {ways}")
        return ways.pop() if ways else "nothing"

    async def leaves_from(self, button: Button) -> str:
        """Open a page through the tunnel; return the address that the site saw."""
        if await self.seen(button, TUNNELLED) != "through":
            raise FailedError("the page did not come through the tunnel")
        return self.sites[0].came[-1][1]


@asynccontextmanager
async def machine(folder: Path) -> AsyncIterator[Machine]:
    async with AsyncExitStack() as stack:
        network = stack.enter_context(Sealed())
        stack.enter_context(network.entered())
        for address in (TUNNELLED, BYPASSED):
            ip("address", "add", f"{address}/32", "dev", "lo")
        names = stack.enter_context(NameServer(TUNNELLED))
        options = ["--relays", "2", "--exits", "2", "--hops", "2", "--allow-destination", "192.0.2.0/24", *REGIONS]
        demo = stack.enter_context(Demo(*options, "--resolver", names.endpoint, log=folder / "demo.log"))
        first = demo.facts["processes"][0]
        node = stack.enter_context(Client(folder / "home", demo.home / LEDGER_NAME))
        made = Machine(network, node, f"{first['address']}/p2p/{first['peer_id']}")
        for site in made.sites:
            await site.start(stack)
        await made.up()
        network.open_door(int(PROXY.rpartition(":")[2]))
        network.open_door(int(made.code().partition("-")[0]))
        yield made


@asynccontextmanager
async def run_chromium(folder: Path) -> AsyncIterator[Button]:
    program = in_group(folder, CHROMIUM)
    async with async_playwright() as playwright:
        start = playwright.chromium.launch_persistent_context
        async with chromium(start, folder / "chromium", OWN, program=program) as button:
            yield button


@asynccontextmanager
async def run_firefox(folder: Path) -> AsyncIterator[Button]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    made = extension.build("firefox", folder)
    async with firefox(folder / "firefox", made, environment, SETTINGS) as button:
        yield button


async def shows(button: Button, words: str) -> None:
    """Wait until the popup says something."""
    await eventually(partial(button.popup, TEXT), lambda text: words in text)


async def test_one_click(tmp_path: Path) -> None:
    """Both browsers go through the same states of one node."""
    async with machine(tmp_path) as here, run_chromium(tmp_path) as one, run_firefox(tmp_path) as other:
        both = one, other
        for button in both:
            assert await here.seen(button, TUNNELLED) == "direct"
            assert (await pair(button, here.code())).startswith("Paired.")

        shown = "async () => String(!document.getElementById('firefox').hidden)"
        assert await eventually(partial(other.own_page, "pair.html", shown), "true".__eq__)

        for button in both:
            await button.click()
            await eventually(button.badge, lambda text: text not in ("", "…", "!"))
        here.network.strays()
        for button in both:
            assert await here.seen(button, BY_NAME) == "through"
            await button.run(TEMPT)
            assert await button.run(candidates(STUN)) == "[]"
            assert await here.seen(button, TUNNELLED) == "through"
            text = await eventually(partial(button.popup, TEXT), lambda text: "kB/s" in text)
            assert "guard" in text
            assert "ms to the exit and back" in text
        assert here.network.strays() == set()

        for region, country, leaves_from in (("DE", "Germany", DE), ("NL", "Netherlands", NL)):
            await one.popup(choose("region", region))
            for button in both:
                await eventually(partial(here.leaves_from, button), leaves_from.__eq__)
                await shows(button, f"leaving from {country}")
                await eventually(button.badge, region.__eq__)
        await one.popup(choose("region", ""))

        # One browser's bypass holds for the other one too, as the node has the rules.
        await one.popup(press("bypass"))
        for button in both:
            await eventually(partial(here.seen, button, TUNNELLED), "direct".__eq__)
            assert await here.seen(button, BY_NAME) == "through"
        assert here.network.strays() == {DIRECT}
        await one.popup(press("bypass"))
        await eventually(partial(here.seen, one, TUNNELLED), "through".__eq__)
        await one.popup(press("route"))
        assert "The route is new" in await one.popup(TEXT)

        here.node.end()
        here.network.strays()
        for button in both:
            assert await here.seen(button, BY_NAME) == "nothing"
            await eventually(button.text, lambda text: "the node does not answer" in text)
            await eventually(button.badge, "!".__eq__)
        change_network(7)
        for button in both:
            assert await here.seen(button, BY_NAME) == "nothing"
        assert here.network.strays() == set()

        for button in both:
            await button.popup(press("switch"))
            await eventually(button.badge, "".__eq__)
            assert await here.seen(button, BYPASSED) == "direct"
            assert await here.seen(button, TUNNELLED) == "direct"
            assert await button.run(candidates()) != "[]"
