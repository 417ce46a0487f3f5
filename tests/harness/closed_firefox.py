"""A Firefox that asks for three sites again and again while its node goes through every state; a rule names one.

It is told of the proxy as `docs/clients.md` says, and nothing that it sends elsewhere is overlooked.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from node.demo_plan import LEDGER_NAME
from tests.harness.closed import BYPASSED, PAID, PROXY, TUNNELLED, WEB_PORT, Client, Site, pac_server
from tests.harness.demo import Demo
from tests.harness.firefox import FIREFOX, PAC, SAFE, SETTINGS, write_profile
from tests.harness.namespaces import ip
from tests.harness.sealed import Sealed, running_client
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping
    from pathlib import Path

    from tests.harness.sealed import Stray

NAMED: Final = "named.test"
"""A site by its name, which nobody can look up."""
NAME: Final = "firefox"
ASK_EVERY_MS: Final = 500
OPEN_EVERY_MS: Final = 1000
"""So often another page is opened as `http://`, by a new name: for such a one Firefox asks for an HTTPS record. And so
often WebRTC is told of a server."""
STUN_PORT: Final = 3478
STUN: Final = f"192.0.2.82:{STUN_PORT}"
"""Nobody is there: to an address of its own machine Firefox sends nothing."""
MAY_OPEN: Final = {"dom.disable_open_during_load": False}
"""Pages open pages without a click."""
KNOCKS: Final = 5
"""So many attempts at the proxy make sure that a browser has tried. It makes no more than twelve that nobody answers:
six for each host (`network.http.max-persistent-connections-per-server`)."""
START_S: Final = 60.0

_PAGE: Final = f"""<!DOCTYPE html><script>
let opened = 0;
setInterval(() => {{
  window.open(`http://opened${{++opened}}.test/`, "opened");
  const connection = new RTCPeerConnection({{iceServers: [{{urls: "stun:{STUN}"}}]}});
  connection.createDataChannel("any");
  connection.setLocalDescription();
  setTimeout(() => connection.close(), {OPEN_EVERY_MS});
}}, {OPEN_EVERY_MS});
setInterval(() => {{
  for (const host of ["{TUNNELLED}", "{BYPASSED}", "{NAMED}"])
    fetch(`http://${{host}}/{NAME}`, {{mode: "no-cors", cache: "no-store"}}).catch(() => {{}});
}}, {ASK_EVERY_MS});
</script>"""


class Look(NamedTuple):
    """What was seen in one state.

    Attributes:
        tunnelled, bypassed: how the two sites were reached: `through` the tunnel, `direct`, `through and direct`, or
            `nothing`.
        strays: where else than to the proxy and to the bypassed site Firefox sent something.
    """

    tunnelled: str
    bypassed: str
    strays: set[Stray]


class Machine:
    """Has the sites, and nothing around it.

    Args:
        network: which it is in.
        folder: for files.
    """

    def __init__(self, network: Sealed, folder: Path) -> None:
        self.folder = folder
        self._network = network
        self._sites = Site(TUNNELLED), Site(BYPASSED)
        self._profiles = 0

    async def start(self, stack: AsyncExitStack) -> None:
        for site in self._sites:
            ip("address", "add", f"{site.address}/32", "dev", "lo")
            await site.start(stack)

    @contextmanager
    def firefox(self, how: str, pac: str = "", settings: Mapping[str, Any] = SAFE) -> Iterator[None]:
        """Run one with a profile of its own; `how` is one of `tests.harness.firefox.SETTINGS`."""
        self._profiles += 1
        profile, page = self.folder / f"profile{self._profiles}", self.folder / "page.html"
        page.write_text(_PAGE)
        exceptions = {} if how == PAC else {"network.proxy.no_proxies_on": BYPASSED}
        write_profile(profile, {**SETTINGS[how], **settings, **MAY_OPEN, **exceptions}, PROXY, pac)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        with running_client(*FIREFOX, "--profile", str(profile), page.as_uri(), environment=environment):
            yield

    async def look(self, *, works: bool = False, knocks: int = KNOCKS) -> Look:
        """Wait until Firefox has reached the bypassed site, and the other one if that `works`; else until it has tried,
        and then once more: what it sent in the state before may still have been under way.

        Args:
            works: the tunnel does.
            knocks: attempts at the proxy that are enough.
        """
        self._network.strays()
        if not works:
            await self._asked(knocks)
        await self._asked(0 if works else knocks)
        tunnelled, bypassed = self._sites
        if works:
            await until(lambda: tunnelled.way(NAME) == "through", START_S)
        return Look(tunnelled.way(NAME), bypassed.way(NAME), self.strays())

    def strays(self) -> set[Stray]:
        """Where else than to the proxy and to the bypassed site it sent something since this was asked last."""
        return self._network.strays() - {DIRECTLY}

    async def _asked(self, knocks: int) -> None:
        """Forget who came, and wait until somebody has come to the bypassed site, and so often to the proxy."""
        for site in self._sites:
            site.came.clear()
        self._network.knocks()
        tried = 0

        def enough() -> bool:
            nonlocal tried
            if self._sites[1].way(NAME) == "nothing":
                return False
            tried += self._network.knocks()
            return tried >= knocks

        await until(enough, START_S)


@asynccontextmanager
async def machine(folder: Path) -> AsyncIterator[Machine]:
    """Enter a network with a machine in it."""
    async with AsyncExitStack() as stack:
        network = stack.enter_context(Sealed())
        stack.enter_context(network.entered())
        network.open_door(int(PROXY.rpartition(":")[2]))
        made = Machine(network, folder)
        await made.start(stack)
        yield made


async def without_a_node(folder: Path, how: str) -> dict[str, Look]:
    async with machine(folder) as here:
        with here.firefox(how):
            return {"never started": await here.look()}


async def without_settings(folder: Path, how: str, missing: Collection[str]) -> set[Stray]:
    """What is sent past the proxy first without some of the settings."""
    settings = {name: value for name, value in SAFE.items() if name not in missing}
    found: set[Stray] = set()

    def more() -> bool:
        found.update(here.strays())
        return bool(found)

    async with machine(folder) as here:
        with here.firefox(how, settings=settings):
            await until(more, START_S)
    return found


async def without_a_script(folder: Path) -> dict[str, Look]:
    """With the PAC's address, where something says that it knows none."""
    gone = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with machine(folder) as here:
        with pac_server(gone) as url, here.firefox(PAC, url):
            return {"PAC answers 404": await here.look(knocks=0)}


async def with_a_node(folder: Path, how: str) -> dict[str, Look]:
    """All that happens to a node while one Firefox runs."""
    options = ["--relays", "2", "--exits", "1", "--hops", "2", "--allow-destination", "192.0.2.0/24", *PAID]
    found: dict[str, Look] = {}
    async with machine(folder) as here:
        with (
            Demo(*options, log=folder / "demo.log") as demo,
            Client(folder / "home", demo.home / LEDGER_NAME) as node,
            here.firefox(how),
        ):
            first: dict[str, Any] = demo.facts["processes"][0]
            start = partial(node.start, f"{first['address']}/p2p/{first['peer_id']}")
            node.start()
            node.until("blocked")
            found["no peers"] = await here.look()
            node.end()
            start()
            for state, number in (("up", None), ("suspended", signal.SIGSTOP), ("resumed", signal.SIGCONT)):
                if number is not None:
                    node.tell(number)
                if number is not signal.SIGSTOP:
                    await asyncio.to_thread(node.until, "up")
                found[state] = await here.look(works=number is not signal.SIGSTOP)
            node.end()
            found["crashed"] = await here.look()
            start()
            await asyncio.to_thread(node.until, "up")
            found["restarted"] = await here.look(works=True)
            await asyncio.to_thread(node.reach_cap)
            found["cap reached"] = await here.look()
            await asyncio.to_thread(node.lift_cap)
            for pid in demo.pids("exit"):
                os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(node.until, "blocked")
            found["no path"] = await here.look()
    return found


DIRECTLY: Final[Stray] = (BYPASSED, "tcp", WEB_PORT)
"""The only thing that a Firefox may send past the proxy here."""
